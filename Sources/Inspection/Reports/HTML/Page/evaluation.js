// The page of an evaluation (Specs/json.md, `ingot.evaluate`): figures of each text, the means of its sequences, and what was evaluated.

/** Figures of a text: member, label, digits, factor, unit. */
const QUALITY = [
  ["perplexity", "perplexity", 4, 1, ""],
  ["reference_perplexity", "of the reference", 4, 1, ""],
  ["perplexity_ratio", "ratio", 5, 1, ""],
  ["kl", "KL divergence, nats a token", 6, 1, ""],
  ["top1", "same top token", 2, 100, " %"],
];

/** An estimate with its standard error; a dash if there is none. */
function estimate(found, digits, factor = 1, unit = "") {
  const value = number(object(found)?.value);
  if (value === null) return NONE;
  const error = number(object(found).standard_error);
  return `${fixed(value * factor, digits)}${error === null ? "" : ` ± ${fixed(error * factor, digits)}`}${unit}`;
}

const evaluatedTexts = (report) => list(report.texts).map((entry) => object(entry) ?? {});
const nameOf = (entry) => shortened(visible(text(entry.name)), 80);

function evaluationTiles({ report }) {
  const all = object(report.all) ?? {};
  const tile = (id, label, value, detail) => element("div", { class: "tile", id: `figure-${id}` },
    element("span", { class: "tile-label" }, label), element("span", { class: "tile-value" }, value), element("span", { class: "tile-detail dim" }, detail));
  const value = (member) => number(object(all[member])?.value);
  const error = (member, digits, factor = 1) => {
    const found = number(object(all[member])?.standard_error);
    return found === null ? "" : `± ${fixed(found * factor, digits)}`;
  };
  const tiles = [tile("perplexity", "perplexity", figure(value("perplexity")), error("perplexity", 4))];
  if (value("kl") !== null) {
    tiles.push(
      tile("ratio", "times the reference's", fixed(value("perplexity_ratio"), 5), error("perplexity_ratio", 5)),
      tile("kl", "KL divergence", figure(value("kl")), `${error("kl", 6)} nats a token`),
      tile("top1", "same top token", percent(value("top1"), 2), `${error("top1", 2, 100)} %`),
    );
  }
  tiles.push(tile("tokens", "scored tokens", whole(number(all.tokens)), counted(number(all.sequences) ?? 0, "sequence")));
  return element("div", { class: "tiles", id: "figures" }, ...tiles);
}

function textsSection({ report }) {
  const texts = evaluatedTexts(report);
  const rows = texts.length > 1 ? [...texts, { ...object(report.all), name: "all texts" }] : texts;
  const known = QUALITY.filter(([member]) => rows.some((entry) => object(entry[member])));
  const extremes = ["kl_p99", "kl_p999"].filter((member) => rows.some((entry) => number(entry[member]) !== null));
  const titles = ["text", "sequences", "tokens", ...known.map(([, label]) => label), ...extremes.map((member) => (member === "kl_p99" ? "KL, 99 %" : "KL, 99.9 %"))];
  const body = rows.map((entry, index) => element("tr", { class: index === texts.length ? "total" : null },
    element("th", { scope: "row", class: "text" }, nameOf(entry)), element("td", {}, whole(number(entry.sequences))), element("td", {}, whole(number(entry.tokens))),
    ...known.map(([member, , digits, factor, unit]) => element("td", {}, estimate(entry[member], digits, factor, unit))),
    ...extremes.map((member) => element("td", {}, number(entry[member]) === null ? NONE : fixed(entry[member], 4)))));
  return section("texts", "Texts", "Errors are standard errors over sequences; those of the ratio are of paired differences.", [],
    element("div", { class: "scroll-wide" }, element("table", { class: "figures-table" },
      element("thead", {}, element("tr", {}, ...titles.map((title, at) => element("th", { scope: "col", class: at ? null : "text" }, title)))),
      element("tbody", {}, ...body))));
}

/** Figures of single sequences: label, and the values of a text; null if the text has none. */
const SEQUENCE_FIGURES = [
  ["KL divergence, nats a token", (entry) => object(entry.per_sequence)?.kl],
  ["loss, nats a token", (entry) => object(entry.per_sequence)?.loss],
  ["loss less that of the reference", (entry) => {
    const [own, other] = [object(entry.per_sequence)?.loss, object(entry.per_sequence)?.reference_loss];
    return Array.isArray(own) && Array.isArray(other) ? own.map((loss, index) => loss - other[index]) : null;
  }],
  ["share of same top tokens", (entry) => object(entry.per_sequence)?.top1],
].map(([label, of]) => [label, (entry) => {
  const values = list(of(entry)).filter((value) => Number.isFinite(value));
  return values.length ? values : null;
}]);

/** A dot per sequence, text after text, and a line at the mean of each text. */
function sequenceChart(texts, [label, of], width) {
  const frame = { left: 64, right: width - 12, top: 34, bottom: 258 };
  const shown = texts.map((entry) => ({ name: nameOf(entry), values: of(entry) ?? [] })).filter((entry) => entry.values.length);
  const all = shown.flatMap((entry) => entry.values);
  const [low, high] = [all.reduce((a, b) => Math.min(a, b)), all.reduce((a, b) => Math.max(a, b))];
  const room = (high - low || Math.abs(high) || 1) * 0.06;
  const across = scale(0, all.length, frame.left, frame.right);
  across.ticks = across.ticks.filter(Number.isInteger);
  const upward = scale(low < 0 ? low - room : Math.max(0, low - room), high + room, frame.bottom, frame.top);
  const items = [];
  const parts = [];
  let first = 0;
  shown.forEach(({ name, values }, index) => {
    const mean = values.reduce((a, b) => a + b, 0) / values.length;
    // Many dots are thinned out evenly: more than one per pixel and text shows nothing.
    const step = Math.max(1, Math.ceil(values.length / 1000));
    for (let at = 0; at < values.length; at += step) {
      const node = drawn("circle", { class: `f-${index < 4 ? index : "other"}`, cx: across(first + at + 0.5), cy: upward(values[at]), r: 3, "data-value": values[at] });
      items.push({ node, title: name, rows: [["sequence", whole(at + 1)], [label, figure(values[at])]] });
      parts.push(node);
    }
    const [start, end] = [across(first), across(first + values.length)];
    parts.push(drawn("line", { class: "ours", x1: start, x2: end, y1: upward(mean), y2: upward(mean) }));
    parts.push(letters(start + 2, frame.top + 4, shortened(name, Math.max(8, Math.floor((end - start) / 7))), { class: "tick" }));
    first += values.length;
  });
  const chart = drawing(width, 298, `${label} of each sequence`, axes(frame, across, upward, { x: "sequence", y: label }), ...parts);
  marks(chart, items);
  return chart;
}

function sequencesSection({ report }) {
  const texts = evaluatedTexts(report);
  const known = SEQUENCE_FIGURES.filter(([, of]) => texts.some((entry) => of(entry)));
  if (!known.length) return null;
  let [chosen] = known;
  const host = element("div", { class: "chart-host", id: "sequence-chart" });
  const tools = known.length > 1 ? [menu("Figure", known.map(([label]) => label), 0, (index) => {
    chosen = known[index];
    redraw();
  })] : [];
  const card = section("sequences", "Sequences", "The mean of each sequence; a line at the mean of a text.", tools, host);
  const redraw = keepDrawn(host, (width) => sequenceChart(texts, chosen, Math.max(width, 320)));
  return card;
}

function originSection({ report }) {
  const model = (name, found) => {
    const entry = object(found);
    return entry && [[name, text(entry.path), `${text(entry.format)}, ${text(entry.weights_xxh3_128)}`]];
  };
  const rows = [
    ...(model("model", report.model) ?? []), ...(model("reference", report.reference) ?? []),
    ["tokenizer", text(report.tokenizer_xxh3_128) || "none: the texts are ids", ""],
    ["context", `${counted(number(report.context) ?? 0, "token")}, the first ${whole(number(report.unscored))} not scored`, ""],
    ...evaluatedTexts(report).map((entry) => ["text", text(entry.name), text(entry.text_xxh3_128) || `ids ${text(entry.ids_xxh3_128)}`]),
  ];
  return section("origin", "What was evaluated", "Hashes are XXH3-128.", [], element("table", { class: "legend-table" }, element("tbody", {},
    ...rows.map(([label, value, detail]) => element("tr", {}, element("th", { scope: "row" }, label),
      element("td", { class: "words" }, shortened(visible(value), 300)), element("td", { class: "words" }, element("code", {}, shortened(visible(detail), 100))))))));
}
