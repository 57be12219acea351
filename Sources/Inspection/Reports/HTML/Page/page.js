// The page: head, main figures, failures, and the other sections in order.

function readData(id) {
  return JSON.parse(document.getElementById(id).textContent);
}

function verdict({ report, isVerification }) {
  if (report.schema === "ingot.evaluate") return ["neutral", "evaluated"];
  if (!isVerification) return ["neutral", "inspected"];
  if (report.intact === false) return ["damaged", "FAIL"];
  if (report.holds === false || list(report.failures).length) return ["fail", "FAIL"];
  if (report.verdict === "COMPARED") return ["compared", "COMPARED"];
  if (report.compared !== true) return ["unmeasured", "PASS"];
  return report.comparison === "weights" ? ["limited", "PASS"] : ["pass", "PASS"];
}

/** The style of a verdict. */
const COLOURS = { damaged: "fail", unmeasured: "pass", limited: "pass", compared: "neutral" };

const VERDICTS = {
  pass: "Every byte is intact, the source is the one that was converted, and all certificates and claims hold.",
  fail: "Every byte is intact, but a certificate, a claim or the source does not match.",
  limited: "Every tensor of the source is there, and all claims hold.",
  damaged: "Bytes of the checkpoint are damaged.",
  compared: "The weights of two checkpoints were compared. No certificate, claim or limit judges their errors.",
  unmeasured: "Every byte is intact. No source was given, so errors are those of the certificates.",
};

function head(app) {
  const { model, title } = app;
  const [state, word] = verdict(model);
  const themes = choice("Colours", [["auto", "Auto"], ["light", "Light"], ["dark", "Dark"]], "auto", (theme) => {
    document.documentElement.dataset.theme = theme;
  });
  themes.id = "theme";
  const claims = list(model.report.claims);
  const isEvaluation = model.report.schema === "ingot.evaluate";
  const kind = isEvaluation ? "Evaluation" : model.isVerification ? "Verification" : "Inspection";
  const format = text(model.report.format);
  const reference = text(object(model.report.reference)?.path);
  const told = isEvaluation ? (reference ? `Compared with ${shortened(visible(reference), 100)}.` : "No reference was given.") : model.isVerification ? VERDICTS[state] : {
    ingot: "An Ingot checkpoint.",
    safetensors: "A safetensors checkpoint.",
    gguf: "A GGUF checkpoint.",
  }[format] ?? "";
  return element("header", { class: "page-head" },
    element("div", { class: "head-line" },
      element("span", { class: "brand" }, element("strong", {}, "ingot"), ` ${kind.toLowerCase()} report`), themes),
    element("div", { class: "head-title" },
      element("h1", {}, visible(title)), element("span", { class: `verdict ${COLOURS[state] ?? state}`, id: "verdict" }, word),
      claims.length ? claimsPill(claims) : null),
    element("p", { class: "dim" }, told, exactness(model.report)));
}

/** Whether every weight equals the other checkpoint's. Nothing about a lossy conversion: its weights are expected to differ. */
function exactness(report) {
  if (report.value_exact === true) return " Value-exact: every weight equals the other checkpoint's.";
  const found = object(report.first_difference)?.found;
  return report.value_exact === false && report.comparison === "weights" && found ? ` Not value-exact: ${shortened(visible(text(found)), 300)}.` : null;
}

/** PASS, SKIP, FAIL, or WARN for a failed claim of level `warn`. */
function wordOf(claim) {
  const status = text(object(claim)?.status).toUpperCase();
  if (status === "FAIL") return claim.level === "warn" ? "WARN" : "FAIL";
  return status === "PASS" ? "PASS" : "SKIP";
}

function claimsPill(claims) {
  const failed = claims.filter((claim) => wordOf(claim) === "FAIL").length;
  const passed = claims.filter((claim) => wordOf(claim) === "PASS").length;
  return element("a", { class: `verdict ${failed ? "fail" : "pass"}`, id: "claims-verdict", href: "#claims" },
    failed ? `claims FAIL, ${whole(failed)} of ${whole(claims.length)}` : `claims PASS, ${whole(passed)} of ${whole(claims.length)}`);
}

/** The figures at the top, as far as the report has them. */
function figures(app) {
  const { model } = app;
  const { report, tensors, worst } = model;
  const [before, after] = [number(report.source_bytes), number(report.output_bytes) ?? number(report.bytes?.total)];
  const encoded = tensors.filter((tensor) => tensor.isEncoded);
  const elements = number(report.elements) ?? sum(tensors, (tensor) => tensor.elements);
  const bits = number(report.bits_per_weight) ?? (
    model.isVerification ? null : after && elements ? (8 * after) / elements : null
  );
  const kept = tensors.length - encoded.length;
  const tiles = [];
  const tile = (id, label, value, detail, act) => tiles.push(element(act ? "button" : "div", { class: "tile", id: `figure-${id}`, click: act, type: act ? "button" : null },
    element("span", { class: "tile-label" }, label), element("span", { class: "tile-value" }, value), element("span", { class: "tile-detail dim" }, detail ?? "")));
  if (number(report.reduction) !== null) tile(
    "reduction",
    report.reduction < 0 ? "larger by" : "smaller by",
    percent(Math.abs(report.reduction)),
    before && after ? `${bytes(before)} to ${bytes(after)}` : "",
  );
  if (after !== null) tile(
    "size",
    model.isVerification ? "size" : "size of all files",
    bytes(after),
    before !== null && before !== after ? `of ${bytes(before)} before` : counted(list(report.files).length, "file"),
  );
  if (bits !== null) tile(
    "bits",
    model.isVerification ? "bits per weight" : "bits per element",
    fixed(bits, 2),
    number(report.weights) ? `over ${whole(report.weights)} encoded weights` : "all bytes of the files",
  );
  if (model.hasErrors) {
    const error = byEnergy(encoded, fromError("relative_mse"));
    const isExact = error === 0;
    if (error !== null) tile(
      "error",
      encoded.some((tensor) => tensor.source ?? tensor.statistics) ? "relative MSE, all" : "relative MSE, mean",
      scientific(error),
      isExact ? "exact" : `SNR ${fixed(-10 * Math.log10(error), 1)} dB`,
    );
    if (worst) tile(
      "worst",
      model.isCalibrated ? "worst error over activations" : "worst tensor",
      scientific(model.worstError(worst)),
      shortened(visible(worst.name), 48),
      app.select && (() => app.select(worst)),
    );
  }
  tile(
    "tensors",
    "tensors",
    whole(tensors.length),
    encoded.length ? `${whole(kept)} kept` : `${whole(elements)} elements`,
  );
  if (model.hasStatistics) {
    const bad = sum(tensors, (tensor) => (number(tensor.statistics?.nan) ?? 0) + (number(tensor.statistics?.infinite) ?? 0));
    tile("nonfinite", "NaN and infinite", whole(bad), bad ? "weights that are not finite" : "none");
  }
  return element("div", { class: "tiles", id: "figures" }, ...tiles);
}

function failuresSection({ model }) {
  const failures = list(model.report.failures).map((failure) => object(failure) ?? {});
  if (!failures.length) return null;
  const rows = failures.slice(0, 1000).map((failure) => element("li", {},
    element("code", {}, shortened(visible(text(failure.tensor)), 300) || visible(text(failure.code))),
    element("span", {}, shortened(visible(text(failure.found)), 1000))));
  return section(
    "failures",
    counted(failures.length, "failure"),
    "Hashes, certificates or tensors that do not match.",
    [],
    element("ol", { class: "messages bad-list" }, ...rows),
  );
}

function claimsSection({ model }) {
  const claims = list(model.report.claims).map((claim) => object(claim) ?? {});
  if (!claims.length) return null;
  const order = ["FAIL", "WARN", "SKIP", "PASS"];
  const sorted = claims.toSorted((a, b) => order.indexOf(wordOf(a)) - order.indexOf(wordOf(b)));
  const plain = (value, limit = 300) => (typeof value === "object" ? NONE : shortened(visible(text(value)), limit));
  const measure = (claim, value) => (
    number(value) === null ? plain(value ?? null) : /bytes|memory|size/.test(text(claim.claim)) ? bytes(value) : Number.isInteger(value) ? whole(value) : figure(value)
  );
  const rows = sorted.map((claim) => {
    const word = wordOf(claim);
    const offender = text(claim.offender);
    return element("tr", {},
      element("td", { class: "text" }, element("span", { class: `status ${word.toLowerCase()}` }, word)),
      element(
        "th",
        { scope: "row", class: "text" },
        plain(claim.claim ?? null),
        claim.pattern ? element("code", {}, plain(claim.pattern)) : null,
      ),
      element("td", {}, measure(claim, claim.limit)), element("td", {}, measure(claim, claim.measured)), element(
        "td",
        { class: "text" },
        plain(claim.basis ?? null),
      ),
      element("td", { class: "text words" }, offender ? element("code", { class: "offender" }, shortened(visible(offender), 300)) : null, plain(claim.message ?? null, 1000)));
  });
  return section("claims", "Claims", null, [], element("div", { class: "scroll-wide" }, element("table", { class: "claims" },
    element(
      "thead",
      {},
      element(
        "tr",
        {},
        ...[
          "",
          "claim",
          "limit",
          "measured",
          "from",
          "finding",
        ].map((title, at) => element("th", { scope: "col", class: at === 2 || at === 3 ? null : "text" }, title)),
      ),
    ),
    element("tbody", {}, ...rows))));
}

function warningsSection({ model }) {
  const warnings = list(model.report.warnings).map(text).filter(Boolean);
  if (!warnings.length) return null;
  return section("warnings", counted(warnings.length, "warning"), null, [],
    element("ul", { class: "messages" }, ...warnings.slice(0, 1000).map((warning) => element("li", {}, shortened(visible(warning), 1000)))));
}

function foot({ model, peers }) {
  const { report } = model;
  const run = [
    number(report.seconds) === null ? null : `${fixed(report.seconds, 1)} s`,
    number(report.peak_resident_bytes) === null ? null : `${bytes(report.peak_resident_bytes)} of peak memory`,
  ].filter(Boolean);
  const packages = Object.entries(object(peers.packages) ?? {}).map(
    ([name, version]) => (name === "ingot" ? version : `${name} ${version}`)
  ).join(", ");
  return element("footer", { class: "dim" },
    run.length ? element("p", {}, `This run took ${run.join(", ")}.`) : null,
    model.hasErrors ? element("p", {}, `Other formats were measured by make bench-peers on ${text(peers.date)} with ${packages}.`) : null,
    element("p", {}, `This file holds the data of the report as JSON (${text(report.schema)}, version ${text(report.schema_version)}). It loads nothing.`));
}

function build() {
  const app = {
    model: readReport(object(readData("data")) ?? {}),
    peers: object(readData("peers")) ?? {},
    title: document.title,
    select: null,
    filter: () => {},
  };
  const { model } = app;
  if (model.report.schema === "ingot.evaluate") {
    show(app, evaluationTiles(model), [textsSection(model), sequencesSection(model), originSection(model)]);
    return;
  }
  const distribution = distributionSection(app);
  const errors = model.hasErrors ? mapSection(
    app,
    "errors",
    "Error by layer and kind",
    model.report.compared === false || !model.isVerification ? "Errors stated by the certificates." : "Errors measured against the source.",
    ERROR_METRICS,
  ) : null;
  const parts = [
    failuresSection(app), claimsSection(app), warningsSection(app), modelSection(app), sizeSection(app), errors, rateSection(app), distribution,
    mapSection(
      app,
      "statistics",
      "Distributions by layer and kind",
      model.tensors.some((tensor) => tensor.source) ? "Statistics of the weights of the source." : model.report.format === "ingot" ? "Statistics of the restored weights." : "Statistics of the weights.",
      DISTRIBUTION_METRICS,
    ),
    accountSection(app), tableSection(app),
  ];
  show(app, figures(app), parts);
}

/** Fills the page: head, figures, links to the sections, and the sections that there are. */
function show(app, tiles, sections) {
  const parts = sections.filter(Boolean);
  const links = parts.map((part) => element("a", { href: `#${part.id}` }, part.querySelector("h2").textContent));
  document.getElementById("report").replaceChildren(
    head(app), tiles, element("nav", { "aria-label": "Sections" }, ...links), element("main", {}, ...parts), foot(app), note);
  document.title = `${app.title} – ingot`;
}

build();
