// Table of all tensors: sorted by any column, filtered by name, layer and kind, in pages.

const PAGE_SIZES = [50, 100, 500];

const statistic = (member, label, format, group = "statistics") => ({
  id: member, label, group, of: (tensor) => number((tensor.statistics ?? tensor.source)?.[member]), format,
});
const errorColumn = (member, label, format) => ({ id: member, label, group: "errors", of: fromError(member), format });

/** All columns. A column without a value in any tensor is left out. */
const COLUMNS = [
  { id: "name", label: "tensor", group: "base", of: (tensor) => tensor.name, isText: true, format: visible },
  { id: "layer", label: "layer", group: "base", of: (tensor) => tensor.layer, format: String },
  { id: "kind", label: "kind", group: "base", of: (tensor) => (tensor.hasRole ? tensor.kind : null), isText: true, format: String, rank: (value) => KINDS.indexOf(value) },
  { id: "dtype", label: "type", group: "base", of: (tensor) => tensor.dtype || null, isText: true, format: visible },
  { id: "shape", label: "shape", group: "base", of: (tensor) => (tensor.shape ? tensor.elements : null), format: (value, tensor) => tensor.shape.join(" x ") },
  { id: "scheme", label: "stored as", group: "base", of: (tensor) => tensor.scheme || null, isText: true, format: visible },
  { id: "elements", label: "weights", group: "base", of: (tensor) => tensor.elements, format: whole },
  { id: "source_bytes", label: "before", group: "base", of: (tensor) => tensor.sourceBytes, format: bytes },
  { id: "bytes", label: "size", group: "base", of: (tensor) => tensor.bytes, format: bytes },
  { id: "bits", label: "bits / weight", group: "base", of: (tensor) => tensor.bits, format: (value) => fixed(value, 2) },
  { ...errorColumn("relative_mse", "rel MSE", scientific), isMain: true },
  { id: "activation_error", label: "error over activations", group: "errors", isMain: true, of: (tensor) => tensor.activationError, format: scientific },
  { ...errorColumn("snr_db", "SNR dB", (value) => fixed(value, 1)), isMain: true },
  { ...errorColumn("max_error", "max error", scientific), isMain: true },
  errorColumn("error_p999", "p99.9 error", scientific),
  errorColumn("cosine", "cosine", (value) => fixed(value, 6)),
  errorColumn("changed", "changed", whole),
  errorColumn("sign_flips", "sign flips", whole),
  errorColumn("zeroed", "rounded to zero", whole),
  { id: "certificate_mse", label: "certified rel MSE", group: "errors", of: (tensor) => number(tensor.certificate?.relative_mse), format: scientific },
  { id: "histogram", label: "histogram", group: "statistics", isMain: true, of: () => null, isPicture: true },
  statistic("min", "min", figure), statistic("max", "max", figure), statistic("mean", "mean", figure),
  { ...statistic("std", "std", figure), isMain: true }, statistic("absmax", "|max|", figure),
  { ...statistic("kurtosis", "kurtosis", (value) => fixed(value, 2)), isMain: true },
  statistic("skewness", "skewness", (value) => fixed(value, 2)),
  statistic("zeros", "zeros", whole), statistic("subnormal", "subnormal", whole),
  { ...statistic("outliers_6_sigma", "beyond 6 σ", whole), isMain: true }, statistic("nan", "NaN", whole), statistic("infinite", "infinite", whole),
  statistic("value_entropy_bits", "value entropy", (value) => fixed(value, 2)),
  statistic("code_entropy_bits", "code entropy", (value) => fixed(value, 2)),
  ...["row", "column"].map((side) => ({
    id: `${side}_spread`, label: `${side} RMS max/median`, group: "statistics", format: figure,
    of: (tensor) => ratio(`${side}_rms`, "max", "median")({ statistics: tensor.statistics ?? tensor.source }),
  })),
];

function tableSection(app) {
  const { model } = app;
  if (!model.tensors.length) return null;
  const columns = COLUMNS.filter((column) =>
    column.isPicture ? model.tensors.some((tensor) => tensor.histograms) : model.tensors.some((tensor) => column.of(tensor) !== null));
  const sets = [["main", "Overview"], ["errors", "Errors"], ["statistics", "Statistics"], ["all", "All columns"]]
    .filter(([set]) => set === "main" || set === "all" || columns.some((column) => column.group === set));
  const isShown = (column) => set === "all" || column.id === "name" || (
    set === "main" ? column.group === "base" || column.isMain : column.group === set
  );
  const collator = new Intl.Collator("en", { numeric: true });
  const state = {
    sort: model.isCalibrated ? "activation_error" : model.hasErrors ? "relative_mse" : null,
    isDescending: true,
    page: 0,
    size: 100,
    pattern: "",
    layer: undefined,
    kind: undefined,
  };
  let set = "main";
  let rows = [];

  const table = element("table", { id: "tensor-table", "aria-describedby": "tensor-count" });
  const count = element("p", { id: "tensor-count", class: "dim", "aria-live": "polite" });
  const pattern = element("input", {
    type: "search", id: "tensor-filter", placeholder: "filter by name; * for any text, ? for one character", "aria-label": "Filter by name",
    spellcheck: "false", input: () => { state.pattern = pattern.value; state.page = 0; update(); },
  });
  const layers = [undefined, ...model.layers];
  const kinds = [undefined, ...model.kinds];
  const layer = menu(
    "Layer",
    layers.map((item) => (item === undefined ? "all layers" : layerName(item))),
    0,
    (index) => { state.layer = layers[index]; state.page = 0; update(); },
  );
  const kind = menu(
    "Kind",
    kinds.map((item) => item ?? "all kinds"),
    0,
    (index) => { state.kind = kinds[index]; state.page = 0; update(); },
  );
  const turn = (step) => () => { state.page += step; render(); table.scrollIntoView({ block: "nearest" }); };
  const previous = element("button", { type: "button", id: "page-back", click: turn(-1) }, "Back");
  const next = element("button", { type: "button", id: "page-on", click: turn(1) }, "Next");
  const size = menu(
    "Rows on a page",
    PAGE_SIZES.map((rows) => `${rows} rows`),
    PAGE_SIZES.indexOf(state.size),
    (index) => { state.size = PAGE_SIZES[index]; state.page = 0; render(); },
  );

  function matcher() {
    const wanted = state.pattern.trim();
    if (!wanted) return () => true;
    if (!/[*?]/.test(wanted)) return (tensor) => tensor.name.toLowerCase().includes(wanted.toLowerCase());
    const source = wanted.replace(/\*+/g, "*").replace(/[.+^${}()|[\]\\]/g, "\\$&").replace(/\*/g, ".*").replace(/\?/g, ".");
    const expression = new RegExp(`^${source}$`, "isu");
    return (tensor) => expression.test(tensor.name.slice(0, 1000));
  }

  function update() {
    const matches = matcher();
    rows = model.tensors.filter((tensor) =>
      (state.layer === undefined || tensor.layer === state.layer) && (state.kind === undefined || tensor.kind === state.kind) && matches(tensor));
    const column = columns.find((candidate) => candidate.id === state.sort);
    if (column) {
      const sign = state.isDescending ? -1 : 1;
      const keyed = rows.map((tensor) => [column.of(tensor), tensor]);
      // Tensors without a value stay last in both directions.
      keyed.sort(([a, first], [b, second]) => {
        if (a === null || b === null) return (a === null) - (b === null) || first.index - second.index;
        const difference = column.rank ? column.rank(a) - column.rank(b) : column.isText ? collator.compare(a, b) : a - b;
        return sign * difference || first.index - second.index;
      });
      rows = keyed.map(([, tensor]) => tensor);
    }
    render();
  }

  function header(column) {
    if (column.isPicture) return element("th", { scope: "col", "data-column": column.id, class: "picture" }, column.label);
    const isSorted = state.sort === column.id;
    const direction = isSorted ? (state.isDescending ? "descending" : "ascending") : "none";
    const sort = () => {
      state.isDescending = isSorted ? !state.isDescending : !column.isText && column.id !== "layer";
      state.sort = column.id;
      state.page = 0;
      update();
      table.querySelector(`th[data-column="${column.id}"] button`)?.focus();
    };
    return element("th", { scope: "col", "aria-sort": direction, "data-column": column.id, class: column.isText ? "text" : null },
      element("button", { type: "button", click: sort }, column.label, element("span", { class: "arrow", "aria-hidden": "true" }, isSorted ? (state.isDescending ? "▼" : "▲") : "")));
  }

  function cell(column, tensor) {
    if (column.isPicture) return element("td", { class: "picture" }, sparkline(tensor));
    const value = column.of(tensor);
    const shown = value === null ? NONE : column.format(value, tensor);
    if (column.id === "name") {
      return element("th", { scope: "row", class: "name" },
        element("button", { type: "button", title: shortened(shown, 1000), click: () => app.select?.(tensor) }, shown.length > 400 ? shortened(shown, 400) : shown || "(no name)"));
    }
    if (column.id === "kind" && value !== null) return element("td", { class: "text" }, swatch(`k-${value}`), shown);
    const bad = (column.id === "nan" || column.id === "infinite") && value > 0;
    return element("td", { class: [column.isText && "text", bad && "bad"].filter(Boolean).join(" ") || null }, shown);
  }

  function render() {
    const pages = Math.max(1, Math.ceil(rows.length / state.size));
    state.page = Math.min(Math.max(0, state.page), pages - 1);
    const first = state.page * state.size;
    const page = rows.slice(first, first + state.size);
    const shown = columns.filter(isShown);
    table.replaceChildren(
      element("thead", {}, element("tr", {}, ...shown.map(header))),
      element("tbody", {}, ...page.map((tensor) => element("tr", {}, ...shown.map((column) => cell(column, tensor))))));
    previous.disabled = state.page === 0;
    next.disabled = state.page === pages - 1;
    const part = rows.length > page.length ? `${whole(first + 1)} to ${whole(first + page.length)} of ` : "";
    const all = rows.length < model.tensors.length ? ` (of ${whole(model.tensors.length)})` : "";
    count.textContent = rows.length ? `${part}${counted(rows.length, "tensor")}${all}` : "no tensor matches";
  }

  app.filter = ({ layer: wantedLayer, kind: wantedKind }) => {
    [state.layer, state.kind, state.pattern, state.page] = [wantedLayer, wantedKind, "", 0];
    pattern.value = "";
    layer.value = String(layers.indexOf(wantedLayer));
    kind.value = String(kinds.indexOf(wantedKind));
    update();
    document.getElementById("tensors").scrollIntoView({ block: "start" });
  };
  update();
  const columnChoice = choice("Columns", sets, set, (chosen) => { set = chosen; render(); });
  return section("tensors", "Tensors", null, [columnChoice],
    element("div", { class: "filters" }, pattern, model.hasRoles && layer, model.hasRoles && kind),
    element("div", { class: "table-host", tabindex: 0, role: "region", "aria-label": "Table of tensors" }, table),
    element("div", { class: "pager" }, count, element("span", { class: "tools" }, size, previous, next)));
}

function sparkline(tensor) {
  const counts = tensor.histograms?.restored ?? tensor.histograms?.source;
  if (!counts) return NONE;
  const most = Math.max(1, ...counts);
  const points = counts.map(
    (count, bin) => `${fixed((bin * 88) / (counts.length - 1 || 1), 1)},${fixed(17 - (16 * count) / most, 1)}`
  );
  return drawn("svg", { class: "sparkline", width: 88, height: 18, viewBox: "0 0 88 18", "aria-hidden": "true" },
    drawn("polygon", { points: `0,18 ${points.join(" ")} 88,18` }));
}
