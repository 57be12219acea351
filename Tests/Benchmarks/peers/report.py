"""Turns compare.py's JSON into Markdown tables and a chart.

    report.py RESULTS.json [--keep]

Prints the Markdown. --keep writes it to PEERS.md beside this program, the chart to Specs/rate-error.svg, and the points
that the HTML report draws to peers.json in Sources/Inspection/Reports/HTML/Page/.
"""

import argparse
import json
from pathlib import Path

from chart import rate_error_chart

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]

# What Ingot promises: bits saved on MiniLM's linear layers taken together, and the error on Gaussian weights.
SAVING_BARS = {"Q4_K": 0.145, "Q3_K": 0.19, "Q2_K": 0.31}
GAUSSIAN_BARS = {4: 0.0046, 3: 0.0185, 2: 0.074}
# Digits that a rate is stated with: 4.0004 bits are 4.00.
BITS_SLACK = 0.005
CODECS = ("zstd", "rans")

INTRODUCTION = """\
# Bits per weight at equal error: Ingot and its peers

`make bench-peers` measures this anew; with `PEERS=--keep` it writes this page, the chart
[Specs/rate-error.svg](../../../Specs/rate-error.svg), and the points that the HTML report draws.
"""

METHOD = """\
## How it is measured

- Relative MSE is sum((w - w')^2) / sum(w^2). Bits per weight count all that a format stores for a matrix, codes, scales
  and other side information, without the header of the file.
- Each peer quantizes and reads back with its own code, without calibration data. Ingot converts a checkpoint of that
  one matrix to the peer's error on it (`--relative-mse`). Its error is measured on what `ingot export` writes, and must
  not exceed the peer's by more than half a percent. A set's bits are all its bits over all its weights, its relative
  MSE is all its squared error over all its squares. "Ingot" is `--codec zstd`, the default, "with rANS" `--codec rans`.
- "Gaussian bound" is 0.5 log2(1 / D), the least that independent Gaussian weights of one variance need, averaged over
  the matrices at their errors. Weights whose variance differs from row to row can be coded in less.
- llama.cpp's blocks are laid over the row-major data in rows of 256. MiniLM's rows of 384 are no multiple of that;
  llama.cpp itself would fall back to bigger types there. Its recipes (Q4_K_M and the like) are mixtures of these types.
- MLX: affine, groups of 64, fp16 scales and biases. NF4: blocks of 64, fp32 maxima, or 8-bit ones ("double"), constant
  tables not counted. HQQ: groups of 64, its default configuration; it minimizes a norm of order 0.7, not the squared
  error.
- The Gaussian's seed is fixed. SampleWeights' embedding and head, MiniLM's embeddings and pooler are left out.
"""


def percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"


def saving(row: dict, codec: str) -> float:
    return 1 - row[codec]["bits_per_weight"] / row["bits_per_weight"]


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in (header, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(header), *lines[1:]]) + "\n"


def bars(sets: dict[str, dict], at_bits: list[dict]) -> str:
    rows = []
    for row in sets["minilm"]["formats"]:
        if bar := SAVING_BARS.get(row["type"]):
            what = f"MiniLM, fewer bits than {row['type']} at its error"
            for codec in CODECS:
                found = saving(row, codec)
                rows.append([what, codec, f"at least {percent(bar)}", percent(found), verdict(found >= bar)])
    for row in at_bits:
        bar = GAUSSIAN_BARS[row["bits"]]
        reached = row["relative_mse"] <= bar and row["bits_per_weight"] <= row["bits"] + BITS_SLACK
        what = f"Gaussian, relative MSE at {row['bits']} bits (ideal: {4.0 ** -row['bits']:.2e})"
        found = f"{row['relative_mse']:.2e} at {row['bits_per_weight']:.3f}"
        rows.append([what, row["codec"], f"at most {bar:.2e}", found, verdict(reached)])
    return "## Bars\n\n" + table(["what", "codec", "bar", "found", "reached"], rows)


def verdict(reached: bool) -> str:
    return "yes" if reached else "**no**"


def formats(weights: dict, with_ingot: bool) -> str:
    header = ["format", "bits", "relative MSE"]
    if with_ingot:
        header += ["Ingot, bits", "saved", "Ingot with rANS, bits", "saved"]
    header.append("Gaussian bound, bits")
    rows = []
    for row in weights["formats"]:
        cells = [f"{row['family']} {row['type']}", f"{row['bits_per_weight']:.3f}", f"{row['relative_mse']:.2e}"]
        if with_ingot:
            for codec in CODECS:
                cells += [f"{row[codec]['bits_per_weight']:.3f}", percent(saving(row, codec))]
        rows.append([*cells, f"{row['bound_bits']:.3f}"])
    plural = "matrices" if weights["matrices"] > 1 else "matrix"
    caption = f"{weights['matrices']} {plural}, {weights['weights']:,} weights:"
    return f"## {weights['title']}\n\n{caption}\n\n{table(header, rows)}"


def markdown(report: dict) -> str:
    sets = {weights["key"]: weights for weights in report["sets"]}
    versions = [f"{name} {number}" for name, number in report["packages"].items()]
    with_ingot = report["ingot"] is not None
    versions = ", ".join([report["ingot"] or "peers alone", *versions])
    parts = [INTRODUCTION, f"{report['date']}, {report['machine']}; {versions}.\n"]
    if with_ingot:
        at_bits = next(matrix["at_bits"] for matrix in report["matrices"] if matrix["set"] == "gaussian")
        parts.append(bars(sets, at_bits))
    parts += [formats(sets[key], with_ingot) for key in ("minilm", "sample", "gaussian")]
    return "\n".join([*parts, METHOD])


def points(report: dict) -> str:
    """What the HTML report draws: of each set of weights the peers' bits and errors, and Ingot's at the same errors."""
    sets = {weights["key"]: weights for weights in report["sets"]}
    kept = []
    for key in ("minilm", "sample", "gaussian"):
        weights = {member: sets[key][member] for member in ("key", "title", "matrices", "weights")}
        weights["formats"] = [rounded(row) for row in sets[key]["formats"]]
        kept.append(weights)
    lines = ",\n".join(json.dumps(weights) for weights in kept).replace('{"family"', '\n  {"family"')
    versions = json.dumps({"ingot": report["ingot"], **report["packages"]})
    return f'{{"date": "{report["date"]}", "packages": {versions},\n"sets": [\n{lines}\n]}}\n'


def rounded(row: dict) -> dict:
    """As many digits as a chart shows, and two more."""
    kept = {"family": row["family"], "type": row["type"]}
    figures = {"": row, "zstd": row["zstd"], "rans": row["rans"]}
    for codec, figure in figures.items():
        pair = {
            "bits_per_weight": round(figure["bits_per_weight"], 4),
            "relative_mse": float(f"{figure['relative_mse']:.4e}"),
        }
        kept.update(pair if codec == "" else {codec: pair})
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="JSON file that compare.py wrote")
    parser.add_argument("--keep", action="store_true", help="write PEERS.md, Specs/rate-error.svg and peers.json")
    arguments = parser.parse_args()
    report = json.loads(arguments.results.read_text())
    if arguments.keep and report["ingot"] is None:
        parser.error("peers alone are no comparison to keep: run compare.py with --ingot")
    text = markdown(report)
    print(text, end="")
    if arguments.keep:
        (HERE / "PEERS.md").write_text(text)
        minilm = next(weights for weights in report["sets"] if weights["key"] == "minilm")
        (ROOT / "Specs/rate-error.svg").write_text(rate_error_chart(minilm))
        (ROOT / "Sources/Inspection/Reports/HTML/Page/peers.json").write_text(points(report))


if __name__ == "__main__":
    main()
