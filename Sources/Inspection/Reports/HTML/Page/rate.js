// Rate against error: tensors of this checkpoint, the bound for Gaussian weights, and measurements of other formats.

const FAMILIES = ["llama.cpp", "MLX", "bitsandbytes", "HQQ"];
const POINTS_AT_MOST = 2000;

/** The mark of a family of formats, centred on (x, y). */
function mark(family, x, y, size = 4.5) {
  const index = FAMILIES.indexOf(family);
  const shapes = [
    [[0, -1.15], [1.1, 0.85], [-1.1, 0.85]], [[-0.9, -0.9], [0.9, -0.9], [0.9, 0.9], [-0.9, 0.9]],
    [[0, -1.25], [1.25, 0], [0, 1.25], [-1.25, 0]], [[0, 1.15], [1.1, -0.85], [-1.1, -0.85]],
  ];
  const corners = (shapes[index] ?? shapes[0]).map(
    ([across, down]) => `${fixed(x + across * size, 2)},${fixed(y + down * size, 2)}`
  );
  return drawn("polygon", { class: `peer f-${index < 0 ? "other" : index}`, points: corners.join(" ") });
}

function rateSection(app) {
  const { model, peers } = app;
  const own = ratePoints(model);
  if (!own.points.length) return null;
  const sets = list(peers.sets);
  let [chosen, range] = [0, "all"];
  const host = element("div", { class: "chart-host", id: "rate-chart" });
  const redraw = later(() => keepDrawn(host, (width) => rateChart(app, own, sets[chosen], range, width)));
  const tools = [
    choice("Range", [["all", "All formats"], ["own", "This checkpoint"]], range, (value) => { range = value; redraw(); }),
    menu(
      "Weights that the other formats were measured on",
      sets.map((set) => `others on: ${text(set.title)}`),
      0,
      (index) => { chosen = index; redraw(); },
    ),
  ];
  const note = own.isGrouped ? ` The ${whole(model.tensors.length)} tensors are grouped by layer and kind.` : "";
  return section("rate", "Rate against error",
    `Lower and further left is better. Each dot is a tensor of this checkpoint. Other formats were measured by make bench-peers on the weights named at the right.${note}`, tools, host);
}

function ratePoints(model) {
  const isPoint = (tensor) => tensor.bits !== null && number(tensor.error?.relative_mse) > 0;
  const tensors = model.tensors.filter(isPoint);
  if (tensors.length <= POINTS_AT_MOST) {
    return {
      isGrouped: false,
      points: tensors.map(
        (tensor) => ({ title: tensor.name, bits: tensor.bits, error: tensor.error.relative_mse, tensors: [tensor] })
      ),
    };
  }
  const groups = grouped(tensors, (tensor) => `${layerName(tensor.layer)}, ${tensor.kind}`);
  const points = [...groups].map(([title, inside]) => ({
    title, tensors: inside, bits: byElements(inside, (tensor) => tensor.bits), error: byEnergy(
      inside,
      (tensor) => tensor.error.relative_mse,
    ),
  }));
  return { isGrouped: true, points: points.filter((point) => point.bits !== null && point.error > 0) };
}

function rateChart(app, own, set, range, width) {
  const formats = list(set?.formats);
  const isNarrow = width < 560;
  const height = isNarrow ? 360 : 460;
  const frame = { left: isNarrow ? 46 : 56, right: width - 12, top: 28, bottom: height - 42 };
  const inRange = range === "own" ? own.points : [
    ...own.points,
    ...formats.map((row) => ({ bits: row.bits_per_weight, error: row.relative_mse })),
  ];
  const span = (values) => [Math.min(...values), Math.max(...values)];
  const [fewest, most] = span(inRange.map((point) => point.bits));
  const [least, greatest] = span(inRange.map((point) => point.error));
  const pad = range === "own" ? 0.35 : 0.5;
  const bits = [Math.max(0, fewest - pad), most + pad];
  const errors = [least / 2.5, Math.min(greatest * 2.5, 2)];
  const across = scale(...bits, frame.left, frame.right);
  const upward = scale(...errors, frame.bottom, frame.top, true);
  const isInside = (point) => point.bits >= bits[0] && point.bits <= bits[1] && point.error >= errors[0] && point.error <= errors[1];

  const line = (points, style) => drawn(
    "polyline",
    { class: style, points: points.map((point) => `${fixed(across(point.bits), 2)},${fixed(upward(point.error), 2)}`).join(" ") },
  );
  const clip = drawn(
    "clipPath",
    { id: "rate-clip" },
    drawn("rect", { x: frame.left, y: frame.top, width: frame.right - frame.left, height: frame.bottom - frame.top }),
  );
  const bound = line(bits.map((rate) => ({ bits: rate, error: 4 ** -rate })), "bound");
  const curve = (codec) => formats.filter((row) => object(row[codec])).map(
    (row) => ({ bits: row[codec].bits_per_weight, error: row[codec].relative_mse })
  ).sort((a, b) => a.bits - b.bits);
  const ours = drawn(
    "g",
    { "clip-path": "url(#rate-clip)" },
    bound,
    line(curve("zstd"), "ours"),
    line(curve("rans"), "ours dotted"),
  );

  const items = [];
  const taken = [];
  const dots = own.points.map((point) => {
    const node = drawn("circle", { class: "own", cx: across(point.bits), cy: upward(point.error), r: 4 });
    taken.push(boxAround(across(point.bits), upward(point.error), 5));
    items.push({
      node, title: point.title, rows: [
        ["bits per weight", fixed(point.bits, 3)],
        ["relative MSE", scientific(point.error)],
        ["above the Gaussian bound", `${fixed(point.bits - 0.5 * Math.log2(1 / point.error), 2)} bits`],
      ],
      act: () => app.select(point.tensors[0]),
    });
    return node;
  });
  const shown = formats.map((row) => ({ row, bits: row.bits_per_weight, error: row.relative_mse })).filter(isInside);
  const others = shown.map(({ row, bits: rate, error }) => {
    const node = mark(row.family, across(rate), upward(error));
    taken.push(boxAround(across(rate), upward(error), 6));
    items.push({
      node, title: `${row.family} ${row.type}`,
      rows: [
        ["bits per weight", fixed(rate, 3)],
        ["relative MSE", scientific(error)],
        ["measured on", text(set.title)],
        object(row.zstd) && ["Ingot at the same error", `${fixed(row.zstd.bits_per_weight, 3)} bits`],
      ],
    });
    return node;
  });
  const names = isNarrow ? [] : peerLabels(shown, across, upward, taken, frame);
  const picture = drawing(width, height, "Bits per weight against relative MSE", clip,
    axes(frame, across, upward, { x: "bits per weight, side information included", y: "relative MSE", formatY: power }), ours, ...names, ...others, ...dots);
  marks(picture, items);
  return [rateLegend(set), picture];
}

const boxAround = (x, y, radius) => ({ left: x - radius, right: x + radius, top: y - radius, bottom: y + radius });
const meet = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;

/** Names beside the marks that have room for one; the note names every mark. */
function peerLabels(shown, across, upward, taken, frame) {
  const labels = [];
  for (const { row, bits, error } of shown) {
    const name = row.family === "llama.cpp" || row.family === "bitsandbytes" ? row.type : `${row.family} ${row.type.split(" g")[0]}`;
    const [x, y, length] = [across(bits), upward(error), name.length * 6.1];
    const places = [[x + 9, y + 4, "start"], [x - 9, y + 4, "end"], [x, y - 9, "middle"], [x, y + 17, "middle"]];
    for (const [atX, atY, anchor] of places) {
      const left = anchor === "start" ? atX : anchor === "end" ? atX - length : atX - length / 2;
      const box = { left, right: left + length, top: atY - 10, bottom: atY + 3 };
      if (
        box.right > frame.right || box.left < frame.left || box.top < frame.top || taken.some((other) => meet(box, other))
      ) continue;
      taken.push(box);
      labels.push(letters(atX, atY, name, { class: "peer-text", "text-anchor": anchor, "aria-hidden": "true" }));
      break;
    }
  }
  return labels;
}

function rateLegend(set) {
  const key = (node, label) => element(
    "span",
    { class: "key" },
    drawn("svg", { width: 26, height: 12, "aria-hidden": "true" }, node),
    label,
  );
  const families = FAMILIES.filter((family) => list(set?.formats).some((row) => row.family === family));
  return element("div", { class: "legend" },
    key(drawn("circle", { class: "own", cx: 13, cy: 6, r: 4 }), "tensors of this checkpoint"),
    key(drawn("polyline", { class: "bound", points: "1,6 25,6" }), "Gaussian bound, 2⁻²ᴿ"),
    set && key(drawn("polyline", { class: "ours", points: "1,6 25,6" }), "Ingot trellis, zstd"),
    set && key(drawn("polyline", { class: "ours dotted", points: "1,6 25,6" }), "Ingot trellis, rANS"),
    ...families.map((family) => key(mark(family, 13, 6), family)),
    set && element("span", { class: "dim" }, `lines and other formats: ${text(set.title)}`));
}
