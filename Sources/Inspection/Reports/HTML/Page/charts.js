// Scales, axes, treemaps and bars.

/** A function from values in [from, to] to positions in [start, end]. */
function scale(from, to, start, end, isLog = false) {
  const at = isLog ? Math.log10 : (value) => value;
  const [low, high] = [at(from), at(to)];
  const place = (value) => start + ((at(value) - low) / (high - low || 1)) * (end - start);
  place.ticks = isLog ? decades(from, to) : evenly(from, to);
  return place;
}

function decades(from, to) {
  const ticks = [];
  for (let power = Math.ceil(Math.log10(from) - 1e-9); power <= Math.log10(to) + 1e-9; power += 1) ticks.push(10 ** power);
  return ticks;
}

function evenly(from, to, most = 8) {
  const rough = (to - from) / most;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * unit).find((candidate) => candidate >= rough * 0.999);
  const ticks = [];
  if (!Number.isFinite(step)) return ticks;
  for (let index = Math.ceil(from / step - 1e-9); index * step <= to + step * 1e-6; index += 1) ticks.push(index * step);
  return ticks;
}

const power = (value) => {
  const exponent = Math.round(Math.log10(value));
  const raised = [...String(exponent)].map((mark) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(mark)]).join("");
  return exponent === 0 ? "1" : `10${raised}`;
};

/** Grid lines, numbers and titles of both axes. */
function axes(frame, across, upward, names) {
  const { left, right, top, bottom } = frame;
  const lines = [];
  for (const tick of across.ticks) {
    const x = across(tick);
    lines.push(drawn("line", { class: "grid", x1: x, x2: x, y1: top, y2: bottom }));
    lines.push(letters(x, bottom + 16, (names.formatX ?? brief)(tick), { class: "tick", "text-anchor": "middle" }));
  }
  for (const tick of upward.ticks) {
    const y = upward(tick);
    lines.push(drawn("line", { class: "grid", x1: left, x2: right, y1: y, y2: y }));
    lines.push(letters(left - 7, y + 4, (names.formatY ?? brief)(tick), { class: "tick", "text-anchor": "end" }));
  }
  lines.push(letters((left + right) / 2, bottom + 34, names.x, { class: "tick", "text-anchor": "middle" }));
  lines.push(letters(left, top - 8, names.y, { class: "tick", "text-anchor": "start", dx: -left + 2 }));
  return drawn("g", { "aria-hidden": "true" }, ...lines);
}

/**
 * Squarified treemap (Bruls, Huizing, van Wijk, 2000): one rectangle per weight, with an area in proportion to the weight.
 * A greedy choice of rows keeps rectangles close to squares.
 */
function squarified(weights, box) {
  const order = weights.map(
    (weight, index) => ({ weight, index })
  ).filter((item) => item.weight > 0).sort((a, b) => b.weight - a.weight);
  const total = sum(order, (item) => item.weight);
  const places = weights.map(() => null);
  let { x, y, width, height } = box;
  const unit = total > 0 ? (width * height) / total : 0;
  let first = 0;
  while (first < order.length) {
    const side = Math.min(width, height);
    let row = 0;
    let last = first;
    let best = Infinity;
    while (last < order.length) {
      const grown = row + order[last].weight * unit;
      const extremes = [order[first].weight * unit, order[last].weight * unit];
      const ratio = Math.max((side ** 2 * extremes[0]) / grown ** 2, grown ** 2 / (side ** 2 * extremes[1]));
      if (ratio > best) break;
      best = ratio;
      row = grown;
      last += 1;
    }
    const depth = side > 0 ? row / side : 0;
    let along = 0;
    for (const item of order.slice(first, last)) {
      const length = depth > 0 ? (item.weight * unit) / depth : 0;
      places[item.index] = width >= height
        ? { x, y: y + along, width: depth, height: length }
        : { x: x + along, y, width: length, height: depth };
      along += length;
    }
    if (width >= height) [x, width] = [x + depth, width - depth];
    else [y, height] = [y + depth, height - depth];
    first = last;
  }
  return places;
}

/** Horizontal bars, one or two per row: [{label, bars: [{value, text, class}], title, rows, act}]. */
function bars(rows, most, label) {
  const items = [];
  const lines = rows.map((row) => {
    const line = element("div", { class: "bar-row" },
      element("span", { class: "bar-label" }, row.label),
      element("span", { class: "bar-tracks" }, ...row.bars.map((bar) =>
        element("span", { class: "bar-track" },
          element(
            "span",
            { class: `bar ${bar.class}`, style: { width: `${most > 0 ? (100 * bar.value) / most : 0}%` }, "data-value": bar.raw ?? bar.value },
          ),
          element("span", { class: "bar-text" }, bar.text)))));
    items.push(
      { node: line, title: row.title ?? row.label, rows: row.rows ?? row.bars.map((bar) => [bar.name ?? "", bar.text]), act: row.act }
    );
    return line;
  });
  const host = element("div", { class: "bars", role: "group", "aria-label": label }, ...lines);
  marks(host, items);
  return host;
}

const swatch = (style) => element("span", { class: `swatch ${style}`, "aria-hidden": "true" });
