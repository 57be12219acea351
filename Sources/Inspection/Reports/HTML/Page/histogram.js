// The weights of one tensor: histograms of original and restored weights, and statistics.

const LISTED_AT_MOST = 200;

function distributionSection(app) {
  const { model } = app;
  const tensors = model.tensors.filter((tensor) => tensor.histograms || tensor.statistics);
  if (!tensors.length) return null;
  const value = model.hasErrors ? fromError("relative_mse") : fromStatistics("kurtosis");
  // List matrices first: vectors of a few hundred weights have heavy tails by chance.
  const isSmall = (item) => Number(item.kind === "norm" || item.kind === "bias");
  const ranked = tensors.toSorted(
    (a, b) => isSmall(a) - isSmall(b) || (value(b) ?? -1) - (value(a) ?? -1)
  ).slice(0, LISTED_AT_MOST);
  const listed = [...ranked];
  let tensor = ranked[0];
  let isLog = false;
  const name = element("h3", { class: "tensor-name", id: "distribution-name" });
  const host = element("div", { class: "chart-host", id: "histogram" });
  const [errors, figures] = ["errors", "figures"].map(
    (part) => element("div", { id: `distribution-${part}`, class: "scroll-wide" })
  );
  const labelled = (item) => `${shortened(visible(item.name), 64)}${value(item) === null ? "" : `  (${model.hasErrors ? scientific(value(item)) : fixed(value(item), 2)})`}`;
  const chooser = menu(
    `Tensor, by ${model.hasErrors ? "relative MSE" : "kurtosis"}, largest first`,
    listed.map(labelled),
    0,
    (index) => show(listed[index]),
  );
  chooser.id = "tensor-choice";
  const redraw = later(() => keepDrawn(host, (width) => histogram(tensor, isLog, width)));
  const show = (item) => {
    tensor = item;
    if (!listed.includes(item)) {
      listed.push(item);
      chooser.append(element("option", { value: listed.length - 1 }, labelled(item)));
    }
    chooser.value = String(listed.indexOf(item));
    name.textContent = shortened(visible(item.name), 300);
    name.title = shortened(visible(item.name), 2000);
    errors.replaceChildren(...[errorTable(item)].filter(Boolean));
    figures.replaceChildren(...[statisticsTable(item), storedTable(item)].filter(Boolean));
    redraw();
  };
  app.select = (item) => {
    show(item);
    document.getElementById("distribution").scrollIntoView({ block: "start" });
  };
  show(tensor);
  const switcher = choice(
    "Scale of the counts",
    [["linear", "Linear"], ["log", "Log"]],
    "linear",
    (chosen) => { isLog = chosen === "log"; redraw(); },
  );
  const order = model.hasErrors ? "The largest relative MSE comes first." : "The largest kurtosis comes first.";
  return section("distribution", "Distribution of a tensor", `Choose a tensor from the list, or click one anywhere on the page. ${order}`, [chooser, switcher],
    name, element("div", { class: "two-columns" }, element("div", {}, host, errors), figures));
}

function histogram(tensor, isLog, width) {
  const data = tensor.histograms;
  if (!data) return element("p", { class: "dim" }, "The report has no histogram of this tensor.");
  const { from, to, source, restored } = data;
  const bins = (source ?? restored).length;
  const height = width < 560 ? 280 : 400;
  const frame = { left: 62, right: width - 10, top: 26, bottom: height - 42 };
  const most = Math.max(1, ...(source ?? []), ...(restored ?? []));
  const across = scale(from, to, frame.left, frame.right);
  const upward = isLog ? scale(0.5, most * 1.3, frame.bottom, frame.top, true) : scale(0, most * 1.05, frame.bottom, frame.top);
  const edge = (bin) => across(from + ((to - from) * bin) / bins);
  const level = (count) => (isLog ? (count > 0 ? upward(count) : frame.bottom) : upward(count));
  const columns = (counts, style) => counts.map((count, bin) =>
    drawn("rect", { class: style, x: edge(bin), y: level(count), width: Math.max(0.5, edge(bin + 1) - edge(bin) - 0.6), height: frame.bottom - level(count), "data-count": count }));
  const outline = (counts) => {
    const steps = counts.map(
      (count, bin) => `${bin ? "L" : "M"}${fixed(edge(bin), 2)} ${fixed(level(count), 2)}H${fixed(edge(bin + 1), 2)}`
    );
    return drawn("path", { class: "restored", d: steps.join(""), "data-counts": counts.join(" ") });
  };
  const items = Array.from({ length: bins }, (_, bin) => ({
    node: drawn(
      "rect",
      { class: "catcher", x: edge(bin), y: frame.top, width: edge(bin + 1) - edge(bin), height: frame.bottom - frame.top },
    ),
    title: `${figure(from + ((to - from) * bin) / bins)} to ${figure(from + ((to - from) * (bin + 1)) / bins)}`,
    rows: [source && ["original", whole(source[bin])], restored && [source ? "restored" : "weights", whole(restored[bin])]],
  }));
  const short = (count) => (
    count >= 1e6 ? `${figure(count / 1e6)} M` : count >= 1e4 ? `${fixed(count / 1e3, 0)} k` : whole(count)
  );
  const picture = drawing(width, height, "Histogram of the weights",
    axes(
      frame,
      across,
      upward,
      { x: "weight", y: "weights per bin", formatX: (value) => (Math.abs(value) < 1e-9 * (to - from) ? "0" : brief(value)), formatY: isLog ? power : short },
    ),
    ...(source ? columns(source, "original") : columns(restored, "only")), source && restored ? outline(restored) : null, ...items.map((item) => item.node));
  marks(picture, items);
  const legend = element("div", { class: "legend" },
    source && element("span", { class: "key" }, swatch("s-original"), "original"),
    source && restored && element("span", { class: "key" }, swatch("s-restored"), "restored"),
    !source && element("span", { class: "key" }, swatch("s-only"), "weights"));
  return [legend, picture];
}

const STATISTICS = [
  ["count", "weights", whole], ["min", "minimum", figure], ["max", "maximum", figure], ["mean", "mean", figure],
  ["std", "standard deviation", figure], ["absmax", "largest magnitude", figure], [
    "kurtosis",
    "kurtosis",
    (value) => fixed(value, 2),
  ], ["skewness", "skewness", (value) => fixed(value, 2)],
  ["zeros", "zeros", whole], ["subnormal", "subnormal", whole], ["outliers_6_sigma", "beyond 6 σ", whole],
  ["nan", "NaN", whole], ["infinite", "infinite", whole],
  [
    "value_entropy_bits",
    "entropy of values, bits",
    (value) => fixed(value, 2),
  ], ["code_entropy_bits", "entropy of codes, bits", (value) => fixed(value, 2)],
];

const ERRORS = [
  ["relative_mse", "relative MSE", scientific], [
    "snr_db",
    "SNR",
    (value) => `${fixed(value, 1)} dB`,
  ], ["max_error", "maximum error", scientific],
  ["relative_activation_error", "relative error over activations", scientific],
  ["error_p999", "99.9th percentile error", scientific], ["cosine", "cosine", (value) => fixed(value, 6)],
  ["changed", "changed", whole], ["sign_flips", "sign flips", whole], ["zeroed", "rounded to zero", whole],
];

const shownAs = (format, value) => (number(value) === null ? NONE : format(value));

function figuresTable(head, rows) {
  return element("table", { class: "figures-table" },
    element("thead", {}, element("tr", {}, ...head.map((title) => element("th", { scope: "col" }, title)))),
    element("tbody", {}, ...rows.map(([label, ...cells]) => element("tr", {}, element("th", { scope: "row" }, label), ...cells.map((cell) => element("td", {}, cell))))));
}

/** The measured error and the error of the certificate, as far as they are known. */
function errorTable({ error, certificate }) {
  if (!error) return null;
  const isMeasured = error !== certificate;
  const rows = ERRORS.filter(([member]) => (number(error[member]) ?? number(certificate?.[member])) !== null).map(([member, label, format]) =>
    [label, shownAs(format, error[member]), ...(isMeasured && certificate ? [shownAs(format, certificate[member])] : [])]);
  return figuresTable(
    isMeasured ? ["error", "measured", ...(certificate ? ["certificate"] : [])] : ["error", "certificate"],
    rows,
  );
}

/** Statistics of the weights; of original and restored weights side by side, if the report has both. */
function statisticsTable({ source, statistics }) {
  const one = source ?? statistics;
  if (!one) return null;
  const others = source && statistics ? [statistics] : [];
  const sides = [one, ...others];
  const rows = STATISTICS.filter(([member]) => sides.some((side) => number(side[member]) !== null)).map(([member, label, format]) =>
    [label, ...sides.map((side) => shownAs(format, side[member]))]);
  for (const percent of Object.keys(object(one.percentiles) ?? {})) {
    rows.push([
      `${visible(percent)} % of the weights are at most`,
      ...sides.map((side) => shownAs(figure, object(side.percentiles)?.[percent])),
    ]);
  }
  for (const [member, spread] of [["row_rms", "row RMS"], ["column_rms", "column RMS"]]) {
    if (!object(one[member])) continue;
    for (const [end, what] of [["min", "minimum"], ["median", "median"], ["max", "maximum"]]) {
      rows.push([`${spread}, ${what}`, ...sides.map((side) => shownAs(figure, object(side[member])?.[end]))]);
    }
  }
  return figuresTable(["distribution", ...(others.length ? ["original", "restored"] : ["weights"])], rows);
}

function storedTable(tensor) {
  const size = tensor.sourceBytes === null ? bytes(tensor.bytes) : `${bytes(tensor.sourceBytes)} to ${bytes(tensor.bytes)}`;
  return figuresTable(["stored", ""], [
    ["as", visible(tensor.scheme) || NONE], ["size", size], [
      "bits per weight",
      tensor.bits === null ? NONE : fixed(tensor.bits, 3),
    ],
  ]);
}
