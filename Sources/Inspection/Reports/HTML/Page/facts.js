// What the files say about the model (Specs/json.md, `model`): one row for each line of the terminal's section.

function factRows(facts) {
  const words = (member) => (typeof facts[member] === "string" ? shortened(visible(facts[member]), 300) : null);
  const quantity = (member, one, more) => (number(facts[member]) === null ? null : one ? counted(facts[member], one, more) : whole(facts[member]));
  const labelled = (label, value) => value && `${label} ${value}`;
  const fileType = number(facts.file_type) === null ? null : words("file_type_name") ? `${words("file_type_name")} (${facts.file_type})` : String(facts.file_type);
  return [
    ["architecture", words("architecture")],
    ["name", words("name")],
    ["parameters", quantity("parameters"), number(facts.parameters) === null && words("size_label")],
    ["layers", quantity("layers"), labelled("embedding length", quantity("embedding_length")), quantity("heads", "head"), quantity("kv_heads", "key-value head")],
    ["context", quantity("context_length", "token")],
    ["element type", words("dtype")],
    ["file type", fileType, labelled("quantization version", quantity("quantization_version"))],
    ["tokenizer", words("tokenizer"), quantity("tokens", "token")],
    ["vocabulary", number(facts.tokens) === null && quantity("vocab_size", "token")],
    ["licence", words("license")],
  ].map(([label, ...values]) => [label, values.filter(Boolean).join(", ")]).filter(([, value]) => value);
}

function modelSection({ model }) {
  const rows = factRows(object(model.report.model) ?? {});
  if (!rows.length) return null;
  const row = ([label, value]) => element("tr", {}, element("th", { scope: "row" }, label), element("td", { class: "words" }, value));
  return section("model", "Model", null, [], element("table", { class: "legend-table" }, element("tbody", {}, ...rows.map(row))));
}
