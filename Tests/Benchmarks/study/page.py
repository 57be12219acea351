"""Specs/study.md and Specs/study.svg from the rows of the study."""

import json
import re
from math import exp, log2
from pathlib import Path

import aqlm
import study_chart
from measures import Mean, difference, mean, wilson
from texts import REPOSITORY

SPECS = REPOSITORY / "Specs"
TITLES = {"sample": "SampleWeights", "third": "Third model", "smollm2": "SmolLM2-135M"}
CALIBRATIONS = ("none", "random", "half", "mixed", "code")
# Of Q3_K, IQ3_XXS, Q2_K and IQ2_XXS: the quotient of the divergences that is asked, and the one hoped for.
BARS = {"Q3_K": (4, 8), "IQ3_XXS": (4, 6), "Q2_K": (5, 8), "IQ2_XXS": (8, 13)}
RATIO_AT_4_BITS, MIX_OVER_CODE, RATIO_AT_2_1 = 1.005, 1.10, 1.42


def table(header: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rows))


def verdict(holds: bool) -> str:
    return "PASS" if holds else "**FAIL**"


def plus_minus(figure: dict, digits: int) -> str:
    return f"{figure['value']:.{digits}f} ± {figure['standard_error']:.{digits}f}"


class Rows:
    """The rows of one model: of each kind the newest of those with the most tokens."""

    def __init__(self, rows: list[dict], model: str):
        own = [row for row in rows if row["model"] == model]
        newest = own[-1]["model_sha256"]
        own = [row for row in own if row["model_sha256"] == newest]
        self.all: dict[tuple, dict] = {}
        self.one_phase: dict[tuple, dict] = {}
        for row in own:
            name = (row["kind"], row.get("type"), None if row["kind"] == "matched" else row.get("bits"), row.get("calibration"))
            if row.get("method") == "steps":
                self.one_phase[name] = row
            if name not in self.all or self._goes_before(row, self.all[name]):
                self.all[name] = row
        self.model = model

    @staticmethod
    def _goes_before(row: dict, other: dict) -> bool:
        """More tokens first, then two phases, then what is newer."""
        rank = lambda row: (row["tokens"], row.get("method") != "steps")
        return rank(row) >= rank(other)

    def of(self, kind: str) -> list[dict]:
        return [row for row in self.all.values() if row["kind"] == kind]

    def ours(self, bits: float, calibration: str) -> dict | None:
        return self.all.get(("ours", None, bits, calibration))

    def get(self, kind: str, type_name: str, calibration: str) -> dict | None:
        return next((row for row in self.of(kind) if row["type"] == type_name and row["calibration"] == calibration), None)


def ratio(row: dict, text: str) -> Mean:
    """The logarithm of the ratio of the perplexities, over sequences."""
    found = row["texts"][text]["per_sequence"]
    return difference(found["loss"], found["reference_loss"])


def upper_ratio(row: dict, text: str) -> float:
    return exp(ratio(row, text).high)


def compared(first: dict, second: dict, text: str, figure: str) -> Mean:
    return difference(*(row["texts"][text]["per_sequence"][figure] for row in (first, second)))


def row_cells(row: dict) -> list[str]:
    code, prose = row["texts"]["code"], row["texts"]["prose"]
    phases = "" if "method" not in row or row["calibration"] == "none" else "1" if row["method"] == "steps" else "2"
    cells = [phases, str(code["sequences"]), f"{row['linear_bits']:.3f}", f"{row['file_bytes'] / 1e6:.3f}"]
    for kind, text in (("code", code), ("prose", prose)):
        cells += [plus_minus(text["perplexity"], 3)]
        if text["kl"]:
            cells += [f"{text['perplexity_ratio']['value']:.4f} (≤ {upper_ratio(row, kind):.4f})", plus_minus(text["kl"], 4 if text["kl"]["value"] > 0.001 else 6)]
        else:
            cells += ["", ""]
    return cells


HEADER = ["bits", "calibration", "phases", "sequences", "bits, linear layers", "file, MB", "perplexity, code", "ratio (95 % limit)", "KL, code",
          "perplexity, prose", "ratio (95 % limit)", "KL, prose"]  # fmt: skip


def main_table(rows: Rows) -> str:
    lines = [["source", "", *row_cells(row)] for row in rows.of("source")]
    ours = sorted(rows.of("ours"), key=lambda row: (-row["bits"], CALIBRATIONS.index(row["calibration"])))
    lines += [[f"{row['bits']:g}", row["calibration"], *row_cells(row)] for row in ours]
    peers = sorted(rows.of("peer"), key=lambda row: (-row["linear_bits"], CALIBRATIONS.index(row["calibration"])))
    lines += [[row["type"], row["calibration"], *row_cells(row)] for row in peers]
    return table(HEADER, lines)


def bits_for(rows: Rows, calibration: str, kl: float) -> str:
    """Bits of the linear layers at which ours has this divergence on code, between two rows that were made."""
    points = sorted((row["linear_bits"], row["texts"]["code"]["kl"]["value"]) for row in rows.of("matched") if row["calibration"] == calibration)
    for (low, first), (high, second) in zip(points, points[1:]):
        if second <= kl <= first:
            return f"{low + (high - low) * log2(first / kl) / log2(first / second):.2f}"
    return ""


def bars(rows: Rows) -> str:
    lines, most = [], max((row["tokens"] for row in rows.of("matched")), default=0)
    for type_name, (bar, moonshot) in BARS.items():
        for calibration in ("mixed", "code", "half", "random"):
            peer, own = rows.get("peer", type_name, calibration), rows.get("matched", type_name, calibration)
            if not peer or not own or peer["tokens"] != own["tokens"] or own["tokens"] < most:
                continue
            kl = {text: (peer["texts"][text]["kl"]["value"], own["texts"][text]["kl"]["value"]) for text in ("code", "prose")}
            times = {text: theirs / ours for text, (theirs, ours) in kl.items()}
            lines.append([
                type_name, calibration, *(f"{side['linear_bits']:.3f}, {side['file_bytes']:,}" for side in (peer, own)),
                *(f"{theirs:.4f} / {ours:.4f} = {times[text]:.2f}" for text, (theirs, ours) in kl.items()),
                f"{bar}", *(verdict(times[text] >= bar) for text in kl), f"{moonshot}: {'yes' if times['code'] >= moonshot else 'no'}",
                bits_for(rows, calibration, kl["code"][0] / bar),
            ])  # fmt: skip
    if not lines:
        return ""
    header = ["at the size of", "text", "theirs: bits, bytes", "ours: bits, bytes", "KL on code, theirs / ours", "KL on prose", "at least",
              "code", "prose", "hoped for", "bits of ours for it"]  # fmt: skip
    return table(header, lines)


def four_bits(rows: Rows) -> str:
    lines = []
    for calibration in CALIBRATIONS:
        if row := rows.ours(4.0, calibration):
            limits = [upper_ratio(row, text) for text in ("code", "prose")]
            lines.append([calibration, *(f"{limit:.4f}" for limit in limits), *(verdict(limit <= RATIO_AT_4_BITS) for limit in limits)])
    return table(["calibration", "limit, code", "limit, prose", "code", "prose"], lines) if lines else ""


def phases(rows: Rows) -> str:
    """What the second phase is worth: rows that were made with one phase too."""
    lines = []
    for name, one in sorted(rows.one_phase.items(), key=lambda item: str(item[0])):
        two = rows.all[name]
        if two is one or two["tokens"] != one["tokens"] or one["calibration"] == "none":
            continue
        cells = [one.get("type") or f"{one['bits']:g}", one["calibration"]]
        for text in ("code", "prose"):
            found = compared(two, one, text, "kl")
            values = [row["texts"][text]["kl"]["value"] for row in (one, two)]
            cells += [f"{values[0]:.4f} -> {values[1]:.4f}", p_value(found.p), f"{0.5 * log2(values[0] / values[1]):.2f}"]
        lines.append(cells)
    header = ["bits, or size of", "calibration", *(f"{text}{what}" for text in ("code", "prose") for what in (": KL", ": p", ": worth bits"))]
    return table(header, lines) if lines else ""


def p_value(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else f"{p:.0e}"


def texts_compared(rows: Rows) -> str:
    """The paired tests: code against prose, and the mix against code, on code."""
    lines = []
    for bits in (3.0, 2.5, 2.1, 2.0):
        for first, second in (("code", "random"), ("code", "none"), ("mixed", "code"), ("half", "code")):
            a, b = rows.ours(bits, first), rows.ours(bits, second)
            if not a or not b or a["tokens"] != b["tokens"] or ("none" not in (first, second) and a["method"] != b["method"]):
                continue
            kl, loss = compared(a, b, "code", "kl"), compared(a, b, "code", "loss")
            quotient = a["texts"]["code"]["kl"]["value"] / b["texts"]["code"]["kl"]["value"]
            asked = ["", ""]
            if (first, second) == ("code", "random") and bits <= 2.5:
                asked = [verdict(figure.value < 0 and figure.p < 0.05) for figure in (kl, loss)]
            if second == "code" and bits <= 2.5:
                asked = [verdict(quotient <= MIX_OVER_CODE), ""]
            lines.append([f"{bits:g}", f"{first} - {second}", f"{kl.value:+.4f} ± {kl.error:.4f}", p_value(kl.p), f"{quotient:.3f}",
                          f"{loss.value:+.4f} ± {loss.error:.4f}", p_value(loss.p), *asked])  # fmt: skip
    header = ["bits", "calibrations", "difference of KL", "p", "quotient", "difference of loss, nats", "p", "asked, KL", "asked, loss"]
    return table(header, lines) if lines else ""


def functional(rows: Rows) -> str:
    lines = []
    for row in sorted(rows.of("functional"), key=lambda row: (-row["bits"], CALIBRATIONS.index(row["calibration"]))):
        cells = []
        for hits in (row["parsed"], row["equal"]):
            low, high = wilson(hits, row["prompts"])
            cells.append(f"{100 * hits / row['prompts']:.0f} % ({100 * low:.0f} to {100 * high:.0f})")
        name = ["source", ""] if row["bits"] == 16 else [f"{row['bits']:g}", row["calibration"]]
        lines.append([*name, str(row["prompts"]), *cells])
    return table(["bits", "calibration", "prompts", "parse", "first 16 tokens equal"], lines) if lines else ""


def costs(rows: Rows) -> str:
    lines = []
    for row in sorted(rows.of("ours"), key=lambda row: (-row["bits"], CALIBRATIONS.index(row["calibration"]))):
        cells = []
        for names in (("calibrate", "correction"), ("first_phase", "convert"), ("evaluate",)):
            stages = [row[name] for name in names if row.get(name)]
            stage = stages and {"user_seconds": sum(one["user_seconds"] for one in stages), "peak_bytes": max(one["peak_bytes"] for one in stages)}
            cells += [f"{stage['user_seconds']:.1f}", f"{stage['peak_bytes'] / 2**20:.0f}"] if stage else ["", ""]
        lines.append([f"{row['bits']:g}", row["calibration"], *cells])
    steps = [f"{step}{unit}" for step in ("calibrate", "convert", "evaluate") for unit in (": user s", ": MiB")]
    header = ["bits", "calibration", *steps]
    return table(header, lines) if lines else ""


LARGE = """## Time and memory of a large model

User seconds above are of one machine under load, and grow with the threads of OpenBLAS that wait. What the steps take for CodeLlama-34B, by
measuring one and two of its layers (`Tests/Benchmarks/study/scaling.py`): [RESULTS.md](../Tests/Benchmarks/RESULTS.md).
"""


COMMANDS = """## How it was made

    make study IMATRIX=mixed                                                                # SampleWeights
    make study BITS=4 CALIBRATIONS=mixed,code TYPES= TOKENS=60000                           # more sequences
    make study BITS=3,2.5,2 CALIBRATIONS=mixed,code TYPES= METHOD=steps                     # one phase
    .venv-bench/bin/python Tests/Benchmarks/study/third_model.py --output DIR               # 99 minutes of one core
    make study MODELS=third THIRD=DIR/model IMATRIX=mixed BITS=16,4,3,2.5,2 CALIBRATIONS=none,random,mixed,code
    make study MODELS=smollm2 TOKENS=6144 BITS=16,3,2.5,2.1,2 CALIBRATIONS=none,half TYPES=Q3_K,IQ3_XXS,Q2_K,IQ2_XXS IMATRIX=half
    make study MODELS=smollm2 TOKENS=6144 BITS=2 CALIBRATIONS=random,code TYPES=
    make study-functional BITS=16,3,2.5,2 CALIBRATIONS=none,mixed
"""


def aqlm_table(model: str, shapes: aqlm.Shapes) -> list[list[str]]:
    return [[model, f"{setting.rate:.2f}", setting.name, f"{aqlm.nominal_bits(shapes, setting):.2f}",
             f"{aqlm.stored_bits(shapes, setting):.2f}", f"{aqlm.file_bytes(shapes, setting) / 1e6:,.1f}"] for setting in aqlm.SETTINGS]  # fmt: skip


def smollm_bar(rows: Rows) -> str:
    lines = []
    for calibration in CALIBRATIONS:
        if row := rows.ours(2.1, calibration):
            value = row["texts"]["code"]["perplexity_ratio"]["value"]
            lines.append([calibration, f"{row['linear_bits']:.3f}", f"{value:.3f}", f"{RATIO_AT_2_1}", verdict(value <= RATIO_AT_2_1)])
    return table(["calibration", "bits", "perplexity ratio on code", "at most", ""], lines) if lines else ""


INTRODUCTION = """# The study in miniature: what calibration is worth at each width

`make study` makes this page: it calibrates, converts and evaluates small models at each width, with no calibration, with prose that is no
code (`random`), with code, with both (`mixed`), and with half of both (`half`). Beside them stand llama.cpp's types with an importance matrix
of the same text.
All figures are of `ingot evaluate` ([evaluation.md](evaluation.md)) against the unquantized model: perplexity, its ratio to the
unquantized one with the upper end of the paired 95 % interval, and KL divergence in nats. ± is a standard error over sequences. p is of
Student's paired t test over sequences, two-sided.

![KL divergence against bits per weight](study.svg)

- **Bits** are asked with `--bits`; "bits, linear layers" is what their payloads have, everything counted. "File" is all shards, the index and
  the manifest; of llama.cpp, a GGUF file without its tokenizer.
- **Embedding and head** get two bits more in rows of ours. They stay as they are in llama.cpp's rows, in all rows of SmolLM2, and in the
  rows of ours that are made at the size of a llama.cpp type.
- **Texts**: evaluation texts are held out from training, and no calibration text has a file of theirs. `half` has as many tokens as `code` or
  `random` alone, `mixed` has twice as many.
- **"bits of ours for it"**: where ours reaches the quotient that is asked on code, interpolated between rows of this table. The quotients were
  set by measurements on SmolLM2-135M, which IQ2_XXS ruins. A model that survives IQ2_XXS leaves less to gain there.
- **SmolLM2-135M** has 576 columns, which blocks of 256 do not divide. llama.cpp's rows are ggml's types on rows that are filled up with
  zeros, counted at the bits of the type. llama.cpp itself would take a larger type. The model's weights lie on a grid of 4 bits (Q4_1), so
  4 bits show nothing there.
- **Phases**: with 2, output and down projections were encoded again, corrected for what their frozen neighbours do (`convert --text`, or
  `calibrate --through` and `convert --through`).
"""


def section(rows: Rows) -> list[str]:
    parts = [f"## {TITLES[rows.model]}\n"]
    parts.append(f"Sequences of 512 tokens of each text, 255 of each scored; their number is of the code text. {calibration_note(rows)}\n")
    parts.append(main_table(rows) + "\n")
    for title, text in (
        ("llama.cpp's size, both sides with embedding and head of the source: how many times smaller the divergence is", bars(rows)),
        (f"4 bits: the upper 95 % limit of the perplexity ratio is at most {RATIO_AT_4_BITS}", "" if rows.model == "smollm2" else four_bits(rows)),
        (f"Calibration texts compared, on code; a mix is within {100 * (MIX_OVER_CODE - 1):.0f} % of code's divergence", texts_compared(rows)),
        ("One phase and two phases (half the logarithm of the quotient is the worth in bits)", phases(rows)),
        ("2.1 bits: perplexity on code", smollm_bar(rows) if rows.model == "smollm2" else ""),
        ("What the models write: greedy completions of held-out functions (95 % intervals of Wilson)", functional(rows)),
        ("User seconds and peak memory of each step", costs(rows)),
    ):
        if text:
            parts.append(f"{title}:\n\n{text}\n")
    return parts


def calibration_note(rows: Rows) -> str:
    names = [name for row in rows.of("ours") if row["calibrate"] and row["calibration"] != "half" for name in row["calibrate"]["texts"]]
    sizes = {int(re.search(r"(\d+)\.txt", name)[1]) for name in names}
    return f"A calibration text has {max(sizes):,} tokens." if sizes else ""


def provenance(rows: list[Rows]) -> str:
    lines = set()
    for own in rows:
        for row in own.all.values():
            kind = "source and llama.cpp" if row["kind"] in ("source", "peer") else "ours"
            lines.add((TITLES[own.model], kind, row["binary"][:12], row["model_sha256"][:12]))
    return table(["model", "rows", "SHA-256 of the command", "SHA-256 of the model"], [list(line) for line in sorted(lines)])


def write(lines: list[dict], cache: Path) -> None:
    present = [model for model in TITLES if any(row["model"] == model for row in lines)]
    rows = [Rows(lines, model) for model in present]
    parts = [INTRODUCTION]
    for own in rows:
        parts += section(own)
    sizes = []
    for name, title in TITLES.items():
        path = {"sample": REPOSITORY / "SampleWeights", "smollm2": cache / "models/smollm2"}.get(name)
        path = path or next((Path(row["model_path"]) for row in reversed(lines) if row["model"] == name and "model_path" in row), None)
        if name in present and path and (path / "config.json").exists():
            sizes += aqlm_table(title, aqlm.shapes(json.loads((path / "config.json").read_text())))
    parts.append("""## AQLM, by its shapes

AQLM (Egiazarian et al., 2024) is the method of the study that this page repeats in small (Giagnorio et al., 2025, CodeLlama and DeepSeek-Coder
of 1.3 to 34 B weights on GPUs). It needs a GPU for hours and was not run here. Its rates count each index of a codebook by its bits. Its
files store an index of 9 to 16 bits in 16. Every matrix has codebooks of its own in fp16, so a small matrix pays most for them.
Embedding and head stay in fp16. Figures below are computed from shapes.
""")
    header = ["model", "published rate", "codebooks x bits", "bits by AQLM's count", "bits in the file, linear layers", "file, MB"]
    parts.append(table(header, [*sizes, *aqlm_table("CodeLlama-7B", aqlm.CODELLAMA_7B)]) + "\n")
    parts.append(LARGE)
    parts.append(COMMANDS + "\n" + provenance(rows) + "\n")
    (SPECS / "study.md").write_text("\n".join(parts))
    (SPECS / "study.svg").write_text(study_chart.chart(rows))
