// The report in one form for both schemas (Specs/json.md). Missing or invalid values become null.

const KINDS = [
  "embedding", "attn_q", "attn_k", "attn_v", "attn_qkv", "attn_output", "router", "ffn_gate", "ffn_up", "ffn_gate_up",
  "ffn_down", "norm", "bias", "head", "other",
];

const number = (value) => (typeof value === "number" && Number.isFinite(value) ? value : null);
const text = (value) => (typeof value === "string" ? value : value === null || value === undefined ? "" : String(value));
const object = (value) => (value && typeof value === "object" && !Array.isArray(value) ? value : null);
const list = (value) => (Array.isArray(value) ? value : []);
const sum = (items, value) => items.reduce((total, item) => total + (value(item) ?? 0), 0);

function readTensor(entry, index) {
  const role = object(entry.role);
  const shape = Array.isArray(entry.shape) ? entry.shape.filter((side) => number(side) !== null) : null;
  const statistics = object(entry.statistics);
  const source = object(entry.source_statistics);
  const scheme = text(entry.scheme);
  const elements = number(entry.elements) ?? (
    shape ? shape.reduce((product, side) => product * side, 1) : number(statistics?.count)
  );
  const size = number(entry.bytes);
  const isEncoded = scheme !== "" && scheme !== "kept";
  const certificate = isEncoded ? object(entry.certificate) ?? (number(entry.relative_mse) === null ? null : entry) : null;
  return {
    index, scheme, shape, elements, isEncoded, certificate, statistics, source,
    name: text(entry.name),
    kind: KINDS.includes(role?.kind) ? role.kind : "other",
    layer: Number.isSafeInteger(role?.layer) ? role.layer : null,
    hasRole: role !== null,
    holdsWeights: entry.holds_weights !== false,
    dtype: text(entry.dtype),
    bytes: size,
    sourceBytes: number(entry.source_bytes),
    bits: number(entry.bits_per_weight) ?? number(entry.bits_per_element) ?? (size && elements ? (8 * size) / elements : null),
    error: isEncoded ? object(entry.measured) ?? certificate : null,
    activationError: number(certificate?.relative_activation_error),
    histograms: readHistograms(entry, statistics),
  };
}

/** Histograms of original and restored weights in the same bins of equal width; null for one that is missing. */
function readHistograms(entry, statistics) {
  const both = object(entry.histograms);
  const one = object(statistics?.histogram);
  const from = number(both?.from ?? one?.from);
  const to = number(both?.to ?? one?.to);
  const counts = (values) => (Array.isArray(values) && values.length ? values.map((value) => number(value) ?? 0) : null);
  const source = counts(both?.source);
  const restored = counts(both?.restored) ?? (both ? null : counts(one?.counts));
  return from === null || to === null || !(to > from) || !(source || restored) ? null : { from, to, source, restored };
}

function readReport(report) {
  const tensors = list(report.tensors).map((entry, index) => readTensor(object(entry) ?? {}, index));
  const model = {
    report, tensors,
    isVerification: report.schema === "ingot.verify",
    hasRoles: tensors.some((tensor) => tensor.hasRole),
    hasErrors: tensors.some((tensor) => number(tensor.error?.relative_mse) !== null),
    hasStatistics: tensors.some((tensor) => tensor.statistics),
    layers: [...new Set(tensors.map((tensor) => tensor.layer))].sort((a, b) => (a ?? -1) - (b ?? -1)),
    kinds: KINDS.filter((kind) => tensors.some((tensor) => tensor.kind === kind)),
  };
  // Calibrated tensors are judged by their error over activations.
  model.isCalibrated = tensors.some((tensor) => tensor.activationError !== null);
  model.worstError = (tensor) => (model.isCalibrated ? tensor?.activationError : number(tensor?.error?.relative_mse)) ?? -1;
  model.worst = model.tensors.reduce(
    (worst, tensor) => (model.worstError(tensor) > model.worstError(worst) ? tensor : worst), null);
  return model;
}

/** Sum of squares of the weights, the denominator of the relative MSE; number of weights if there are no statistics. */
function energy(tensor) {
  const taken = tensor.source ?? tensor.statistics;
  const [deviation, mean] = [number(taken?.std), number(taken?.mean)];
  const count = tensor.elements ?? 0;
  return deviation === null || mean === null ? count : count * (deviation ** 2 + mean ** 2);
}

const averaged = (weight) => (tensors, value) => {
  const known = tensors.filter((tensor) => value(tensor) !== null);
  const total = sum(known, weight);
  return total > 0 ? sum(known, (tensor) => value(tensor) * weight(tensor)) / total : null;
};
const byEnergy = averaged(energy);
const byElements = averaged((tensor) => tensor.elements);

/** Second and fourth central moment of all weights of some tensors together, from their means, deviations, skewness and kurtosis. */
function pooled(tensors) {
  const parts = tensors.map((tensor) => {
    const taken = tensor.source ?? tensor.statistics;
    const [mean, std, kurtosis] = [number(taken?.mean), number(taken?.std), number(taken?.kurtosis)];
    return mean === null || std === null || kurtosis === null || !tensor.elements ? null
      : { n: tensor.elements, mean, second: std ** 2, third: (number(taken.skewness) ?? 0) * std ** 3, fourth: kurtosis * std ** 4 };
  }).filter((part) => part !== null);
  const count = sum(parts, (part) => part.n);
  if (!count) return null;
  const mean = sum(parts, (part) => part.n * part.mean) / count;
  const second = sum(parts, (part) => part.n * (part.second + (part.mean - mean) ** 2)) / count;
  const fourth = sum(parts, (part) => {
    const d = part.mean - mean;
    return part.n * (part.fourth + 4 * d * part.third + 6 * d ** 2 * part.second + d ** 4);
  }) / count;
  return { second, fourth };
}
const pooledKurtosis = (tensors) => {
  const moments = pooled(tensors);
  return moments && moments.second > 0 ? moments.fourth / moments.second ** 2 : null;
};
const pooledDeviation = (tensors) => {
  const moments = pooled(tensors);
  return moments && Math.sqrt(moments.second);
};
const greatest = (tensors, value) => {
  const known = tensors.map(value).filter((found) => found !== null);
  return known.length ? known.reduce((a, b) => Math.max(a, b)) : null;
};

const fromError = (member) => (tensor) => number(tensor.error?.[member]);
const fromStatistics = (member) => (tensor) => number((tensor.source ?? tensor.statistics)?.[member]);
const share = (value) => (tensor) => {
  const found = value(tensor);
  return found === null || !tensor.elements ? null : found / tensor.elements;
};
const ratio = (member, over, under) => (tensor) => {
  const spread = object((tensor.source ?? tensor.statistics)?.[member]);
  const found = number(spread?.[over]) / number(spread?.[under]);
  return spread && Number.isFinite(found) ? found : null;
};

/** Values that a map by layer and kind can show: `of` for one tensor, `over` for several. */
const ERROR_METRICS = [
  { id: "activation_error", label: "relative error over activations", of: (tensor) => tensor.activationError, over: greatest, format: scientific, log: true },
  { id: "relative_mse", label: "relative MSE", of: fromError("relative_mse"), over: byEnergy, format: scientific, log: true },
  { id: "max_error", label: "maximum error", of: fromError("max_error"), over: greatest, format: scientific, log: true },
  { id: "error_p999", label: "99.9th percentile error", of: fromError("error_p999"), over: greatest, format: scientific, log: true },
  { id: "sign_flips", label: "sign flips, share", of: share(fromError("sign_flips")), over: byElements, format: (value) => percent(value, 2) },
  { id: "zeroed", label: "rounded to zero, share", of: share(fromError("zeroed")), over: byElements, format: (value) => percent(value, 2) },
];

const DISTRIBUTION_METRICS = [
  { id: "kurtosis", label: "kurtosis (Gaussian: 3)", of: fromStatistics("kurtosis"), over: pooledKurtosis, format: (value) => fixed(value, 2) },
  { id: "outliers", label: "outliers beyond 6 σ, share", of: share(fromStatistics("outliers_6_sigma")), over: byElements, format: (value) => percent(value, 4) },
  { id: "std", label: "standard deviation", of: fromStatistics("std"), over: pooledDeviation, format: figure },
  { id: "absmax", label: "largest magnitude", of: fromStatistics("absmax"), over: greatest, format: figure },
  { id: "zeros", label: "zeros, share", of: share(fromStatistics("zeros")), over: byElements, format: (value) => percent(value, 2) },
  { id: "rows", label: "row RMS, max / median", of: ratio("row_rms", "max", "median"), over: greatest, format: figure },
  { id: "columns", label: "column RMS, max / median", of: ratio("column_rms", "max", "median"), over: greatest, format: figure },
  { id: "entropy", label: "entropy of values, bits", of: fromStatistics("value_entropy_bits"), over: byElements, format: (value) => fixed(value, 2) },
];

const known = (metrics, tensors) => metrics.filter((metric) => tensors.some((tensor) => tensor.holdsWeights && metric.of(tensor) !== null));

/** The value of a metric for several tensors together: for those of them that hold weights, and no whole numbers or scales. */
const together = (metric, tensors) => metric.over(tensors.filter((tensor) => tensor.holdsWeights), metric.of);

/** Tensors by a key, in order: a map from key to tensors. */
function grouped(tensors, key) {
  const groups = new Map();
  for (const tensor of tensors) {
    const found = key(tensor);
    if (!groups.has(found)) groups.set(found, []);
    groups.get(found).push(tensor);
  }
  return groups;
}

const layerName = (layer) => (layer === null ? "outside of layers" : `layer ${layer}`);
const byLayer = (groups) => [...groups].sort(([a], [b]) => (a ?? -1) - (b ?? -1));
const byKind = (groups) => [...groups].sort(([a], [b]) => KINDS.indexOf(a) - KINDS.indexOf(b));
