// Sizes before and after, as treemaps on one scale or as bars, and the bytes of each part of the files.

function sizeSection(app) {
  const { model } = app;
  const tensors = model.tensors.filter((tensor) => tensor.bytes !== null);
  if (!tensors.length || !model.hasRoles) return null;
  const hasBoth = tensors.some((tensor) => tensor.sourceBytes !== null);
  const host = element("div", { class: "chart-host", id: "size-chart" });
  const legend = sizeLegend(app, tensors, hasBoth);
  const views = {
    map: (width) => maps(app, tensors, hasBoth, width, legend),
    kind: () => sizeBars(app, byKind(grouped(tensors, (tensor) => tensor.kind)), hasBoth, "kind"),
    layer: () => sizeBars(app, byLayer(grouped(tensors, (tensor) => tensor.layer)), hasBoth, "layer"),
  };
  let view = "map";
  const redraw = later(() => keepDrawn(host, (width) => views[view](width)));
  const switcher = choice("Form of the chart", [["map", "Treemap"], ["kind", "Bars by kind"], ["layer", "Bars by layer"]], view, (chosen) => {
    view = chosen;
    redraw();
  });
  const explanation = hasBoth
    ? "Tensors before and after, by layer and kind. Areas are in proportion to bytes, on one scale."
    : "Tensors by layer and kind. Areas are in proportion to bytes.";
  return section("size", "Size", explanation, [switcher], host);
}

/** Calls `start` after the element is in the page, because drawing needs its width. */
function later(start) {
  let redraw = null;
  requestAnimationFrame(() => { redraw = start(); });
  return () => redraw?.();
}

function maps(app, tensors, hasBoth, width, legend) {
  const sizes = [["after", "bytes", "after"]];
  if (hasBoth) sizes.unshift(["before", "sourceBytes", "before"]);
  const totals = sizes.map(([, member]) => sum(tensors, (tensor) => tensor[member]));
  const isWide = width >= 720;
  // Sides scale with the square root of the bytes, so that areas scale with the bytes.
  const largest = Math.max(...totals);
  const share = totals.map((total) => Math.sqrt(total / largest));
  const gap = 28;
  const room = isWide ? (hasBoth ? Math.max((width - gap) / Math.max(share[0] + share[1], 1.45), 200) : width * 0.68) : width;
  const height = isWide ? Math.min(440, room * 0.62) : Math.min(320, room * 0.8);
  const drawings = sizes.map(([id, member, title], index) =>
    treemap(app, tensors, member, id, hasBoth ? title : "all tensors", room * share[index], height * share[index]));
  return element("div", { class: isWide ? "maps wide" : "maps" },
    drawings[0], element("div", { class: "beside" }, drawings[1], legend));
}

function treemap(app, tensors, member, id, title, width, height) {
  const groups = byLayer(grouped(tensors, (tensor) => tensor.layer)).map(([layer, inside]) => ({
    layer,
    cells: byKind(grouped(inside, (tensor) => tensor.kind)).map(
      ([kind, all]) => ({ kind, all, size: sum(all, (tensor) => tensor[member]) })
    ),
  }));
  const total = sum(tensors, (tensor) => tensor[member]);
  const places = squarified(groups.map((group) => sum(group.cells, (cell) => cell.size)), { x: 0, y: 0, width, height });
  const items = [];
  const parts = [];
  groups.forEach((group, index) => {
    const place = places[index];
    if (!place) return;
    const inner = squarified(group.cells.map((cell) => cell.size), place);
    const largest = group.cells.reduce((best, cell, at) => (cell.size > group.cells[best].size ? at : best), 0);
    group.cells.forEach((cell, at) => {
      const box = inner[at];
      if (!box) return;
      const node = drawn(
        "rect",
        { class: `cell k-${cell.kind}`, x: box.x, y: box.y, width: box.width, height: box.height, "data-bytes": cell.size },
      );
      parts.push(node);
      items.push({
        node,
        title: `${layerName(group.layer)}, ${cell.kind}`,
        rows: [["size", bytes(cell.size)], ["share", percent(cell.size / total)], ["tensors", whole(cell.all.length)]],
        act: () => app.filter({ layer: group.layer, kind: cell.kind }),
      });
      parts.push(...cellLabels(box, at === largest ? layerName(group.layer) : null, cell));
    });
    parts.push(drawn("rect", { class: "frame", ...place }));
  });
  const picture = drawing(width, height, `Treemap of sizes, ${title}`, ...parts);
  picture.style.maxWidth = `${width}px`;
  marks(picture, items);
  return element("figure", { class: "map", id: `map-${id}`, style: { width: `${width}px` } },
    element("figcaption", {}, element("strong", {}, title), ` ${bytes(total)}`), picture);
}

/** Name of the kind, and in the largest cell of a layer the name of the layer, if they fit. */
function cellLabels(box, layer, cell) {
  const lines = layer ? [layer.replace("outside of layers", ""), cell.kind] : [cell.kind];
  const texts = lines.filter((line) => line && line.length * 6.6 + 10 < box.width);
  if (box.height < 15 * texts.length + 6) texts.length = box.height < 20 ? 0 : Math.min(texts.length, 1);
  return texts.map((line, index) =>
    letters(box.x + 6, box.y + 15 + 14 * index, line, { class: `map-text on-${cell.kind}${line === cell.kind ? "" : " bold"}`, "aria-hidden": "true" }));
}

function sizeLegend(app, tensors, hasBoth) {
  const rows = byKind(grouped(tensors, (tensor) => tensor.kind)).map(([kind, all]) => {
    const [before, after] = [sum(all, (tensor) => tensor.sourceBytes), sum(all, (tensor) => tensor.bytes)];
    const cells = hasBoth ? [
      bytes(before),
      bytes(after),
      before > 0 ? percent(1 - after / before) : NONE,
    ] : [bytes(after), whole(all.length)];
    return element("tr", {},
      element("th", { scope: "row" }, swatch(`k-${kind}`), kind), ...cells.map((cell) => element("td", {}, cell)));
  });
  const head = hasBoth ? ["kind", "before", "after", "smaller by"] : ["kind", "size", "tensors"];
  return element("table", { class: "legend-table" },
    element("thead", {}, element("tr", {}, ...head.map((title) => element("th", { scope: "col" }, title)))),
    element("tbody", {}, ...rows));
}

function sizeBars(app, groups, hasBoth, by) {
  const rows = groups.map(([key, all]) => {
    const [before, after] = [sum(all, (tensor) => tensor.sourceBytes), sum(all, (tensor) => tensor.bytes)];
    const style = by === "kind" ? `k-${key}` : "plain-bar";
    const found = [{ value: after, text: bytes(after), class: style, name: hasBoth ? "after" : "size" }];
    if (hasBoth) found.unshift({ value: before, text: bytes(before), class: `${style} faint`, name: "before" });
    return {
      label: by === "kind" ? key : layerName(key), bars: found,
      rows: [...found.map((bar) => [bar.name, bar.text]), ["tensors", whole(all.length)]],
      act: () => app.filter(by === "kind" ? { kind: key } : { layer: key }),
    };
  });
  const most = Math.max(...rows.flatMap((row) => row.bars.map((bar) => bar.value)));
  return element("div", { class: "scroll-tall" }, bars(rows, most, `Size by ${by}`));
}

const PARTS = {
  header: "headers of the files", tensors: "kept tensors", tables: "chunk tables", codes: "codes, compressed",
  escapes: "escapes", extras: "row classes, low bits, patches", scales: "scales and biases", planes: "byte planes",
  padding: "padding for alignment", seal: "seals and checksums",
};

/** The byte account: bytes of each part; the parts add up to the sizes of the files. */
function accountSection({ model }) {
  const account = object(model.report.bytes);
  const total = number(account?.total);
  if (!total) return null;
  const parts = Object.entries(account).filter(([part, size]) => part !== "total" && number(size) > 0);
  const style = (part) => `p-${part in PARTS ? part : "other"}`;
  const items = [];
  const segments = parts.map(([part, size]) => {
    const node = element(
      "span",
      { class: `segment ${style(part)}`, style: { "flex-grow": String(size / total) }, "data-bytes": size },
    );
    items.push({ node, title: part, rows: [["bytes", whole(size)], ["share", percent(size / total, 2)]] });
    return node;
  });
  const bar = element("div", { class: "account", role: "group", "aria-label": "Bytes by part" }, ...segments);
  marks(bar, items);
  const rows = parts.map(([part, size]) => element("tr", {},
    element("th", { scope: "row" }, swatch(style(part)), part), element("td", { class: "words dim" }, PARTS[part] ?? ""),
    element("td", {}, whole(size)), element("td", {}, percent(size / total, 2))));
  const table = element("table", { class: "legend-table" },
    element(
      "thead",
      {},
      element(
        "tr",
        {},
        ...[
          "part",
          "content",
          "bytes",
          "share",
        ].map((title, at) => element("th", { scope: "col", class: at === 1 ? "words" : null }, title)),
      ),
    ),
    element("tbody", {}, ...rows, element("tr", { class: "total" },
      element("th", { scope: "row" }, "total"), element("td", { class: "words dim" }, "sum of the sizes of the files"), element("td", {}, whole(total)), element("td", {}, percent(1)))));
  return section("account", "Byte account", "Bytes of the files by purpose. Every byte is counted.", [], bar,
    element("div", { class: "scroll-wide" }, table), filesTable(model));
}

function filesTable(model) {
  const files = list(model.report.files).filter((file) => object(file));
  if (files.length < 2) return null;
  const rows = files.slice(0, 1000).map((file) => element("tr", {},
    element("th", { scope: "row" }, visible(text(file.name))), element("td", {}, bytes(number(file.bytes?.total)))));
  return element("details", {}, element("summary", {}, counted(files.length, "file")),
    element("table", { class: "legend-table" }, element("tbody", {}, ...rows)));
}
