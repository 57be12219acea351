// A heat map of a value by layer and kind, and bars by kind beside it.

function mapSection(app, id, title, explanation, candidates) {
  const { model } = app;
  const metrics = known(candidates, model.tensors);
  if (!metrics.length || !model.hasRoles) return null;
  let metric = metrics[0];
  const map = element("div", { class: "chart-host heat", id: `${id}-map` });
  const beside = element("div", { class: "chart-host", id: `${id}-bars` });
  const redraw = later(() => {
    const parts = [keepDrawn(map, (width) => heatmap(app, metric, width)), keepDrawn(beside, () => metricBars(app, metric))];
    return () => parts.forEach((part) => part());
  });
  const chooser = menu("Value to show", metrics.map(({ label }) => label), 0, (index) => {
    metric = metrics[index];
    redraw();
  });
  return section(id, title, explanation, [chooser], element("div", { class: "two-columns" },
    element("div", {}, map), element("div", {}, element("h3", {}, "By kind"), beside)));
}

/** Maps values to 0 for the smallest up to 1 for the largest. */
function ramp(metric, values) {
  const found = values.filter((value) => value !== null && (!metric.log || value > 0));
  const [least, most] = [Math.min(...found), Math.max(...found)];
  const at = metric.log ? Math.log : (value) => value;
  const place = (value) => {
    if (metric.log && value <= 0) return 0;
    return most > least ? (at(value) - at(least)) / (at(most) - at(least)) : 0.5;
  };
  return { least, most, place, isEmpty: !found.length };
}

/** A colour of the ramp, 0 to 1. Variables of the style sheet choose the light or the dark theme. */
function heat(place) {
  const [from, to, part] = place < 0.5 ? ["low", "middle", place * 2] : ["middle", "high", place * 2 - 1];
  return `color-mix(in oklab, var(--heat-${from}), var(--heat-${to}) ${fixed(100 * part, 1)}%)`;
}

function heatmap(app, metric, width) {
  const { model } = app;
  const cells = [];
  for (const [layer, inside] of byLayer(grouped(model.tensors, (tensor) => tensor.layer))) {
    for (const [kind, tensors] of grouped(inside, (tensor) => tensor.kind)) {
      const value = together(metric, tensors);
      if (value !== null) cells.push({ layer, kind, tensors, value });
    }
  }
  const layers = model.layers.filter((layer) => cells.some((cell) => cell.layer === layer));
  const kinds = model.kinds.filter((kind) => cells.some((cell) => cell.kind === kind));
  const { least, most, place, isEmpty } = ramp(metric, cells.map((cell) => cell.value));
  if (isEmpty) return element("p", { class: "dim" }, `${metric.label}: 0 for all tensors.`);
  const [left, top, rowHeight] = [86, 20, kinds.length > 8 ? 26 : 30];
  const cellWidth = Math.max(11, Math.min(128, (width - left - 2) / layers.length));
  const full = Math.max(width, left + cellWidth * layers.length + 2);
  const height = top + rowHeight * kinds.length + 2;
  const items = [];
  const parts = kinds.map(
    (kind, row) => letters(left - 8, top + rowHeight * (row + 0.5) + 4, kind, { class: "tick", "text-anchor": "end" })
  );
  const every = Math.ceil(26 / cellWidth);
  layers.forEach((layer, column) => {
    if (layer !== null && layer % every) return;
    parts.push(
      letters(
        left + cellWidth * (column + 0.5),
        13,
        layer === null ? "none" : String(layer),
        { class: "tick", "text-anchor": "middle" },
      )
    );
  });
  for (const cell of cells) {
    const [x, y] = [left + cellWidth * layers.indexOf(cell.layer), top + rowHeight * kinds.indexOf(cell.kind)];
    const shade = place(cell.value);
    const node = drawn(
      "rect",
      { class: "heat-cell", x: x + 1, y: y + 1, width: cellWidth - 2, height: rowHeight - 2, rx: 2, style: { fill: heat(shade) }, "data-value": cell.value },
    );
    parts.push(node);
    if (cellWidth >= 58) {
      parts.push(letters(x + cellWidth / 2, y + rowHeight / 2 + 4, metric.format(cell.value), {
        class: shade > 0.55 ? "heat-text strong" : "heat-text", "text-anchor": "middle", "aria-hidden": "true",
      }));
    }
    items.push({
      node, title: `${layerName(cell.layer)}, ${cell.kind}`,
      rows: [
        [metric.label, metric.format(cell.value)],
        cell.tensors.length > 1 && ["tensors", whole(cell.tensors.length)],
        cell.tensors.length === 1 && ["tensor", shortened(visible(cell.tensors[0].name), 60)],
      ],
      act: () => (cell.tensors.length === 1 ? app.select(cell.tensors[0]) : app.filter({ layer: cell.layer, kind: cell.kind })),
    });
  }
  const picture = drawing(full, height, `${metric.label} by layer and kind`, ...parts);
  picture.style.width = `${full}px`;
  picture.style.maxWidth = "none";
  marks(picture, items);
  const gradient = `linear-gradient(to right in oklab, var(--heat-low), var(--heat-middle), var(--heat-high))`;
  return [
    element("div", { class: "scroll-wide" }, picture),
    element("div", { class: "ramp" },
      element("span", {}, metric.format(least)), element("span", { class: "ramp-bar", style: { background: gradient } }),
      element("span", {}, metric.format(most)), element("span", { class: "dim" }, `${metric.label}${metric.log ? ", logarithmic scale" : ""}. Columns are layers.`)),
  ];
}

function metricBars(app, metric) {
  const groups = byKind(grouped(app.model.tensors, (tensor) => tensor.kind))
    .map(([kind, tensors]) => ({ kind, tensors, value: together(metric, tensors) }))
    .filter((group) => group.value !== null);
  const most = Math.max(...groups.map((group) => Math.abs(group.value)), 0);
  return bars(groups.map(({ kind, tensors, value }) => ({
    label: kind, bars: [
      { value: Math.abs(value), raw: value, text: metric.format(value), class: `k-${kind}`, name: metric.label },
    ],
    rows: [[metric.label, metric.format(value)], ["tensors", whole(tensors.length)]],
    act: () => app.filter({ kind }),
  })), most, `${metric.label} by kind`);
}
