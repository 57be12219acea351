"""Writes Specs/runtimes-tour.md: from a Hugging Face directory to an answer in llama.cpp, mlx-lm and transformers.

    runtimes-tour.py INGOT TARGET [--build FOLDER]        FOLDER: a build of llama.cpp that has bin/

The model is that of smollm2.py. Runs in the Python environment of `make peers`, in a temporary folder of BENCH_DIR (2 GB).
"""

import argparse
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Tests/Benchmarks/peers"))

import llamacpp  # noqa: E402
import smollm2  # noqa: E402

MODEL = "SmolLM2-135M"
QUESTION = "Name the capital city of Italy."
COMMANDS = ("ls ", "ingot ", "llama-", "mlx_lm", "python ")  # beginnings of parts that are commands
PROGRAMS = ("llama-completion", "llama-perplexity")
DIRECTORY = """\
from transformers import pipeline
chat = pipeline("text-generation", "smollm2-w8a16", device="cpu")"""
FILE = """\
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline
file = {"gguf_file": "smollm2-Q8_0.gguf"}
model = AutoModelForCausalLM.from_pretrained(".", **file)
tokenizer = AutoTokenizer.from_pretrained(".", **file)
chat = pipeline("text-generation", model, tokenizer=tokenizer)"""
ASK = f"""
answer = chat([{{"role": "user", "content": "{QUESTION}"}}],
              max_new_tokens=32, do_sample=False)
print(answer[0]["generated_text"][-1]["content"])"""


def python(program: str) -> str:
    return f"python - <<'EOF'\n{program}{ASK}\nEOF"


def parts(versions: str) -> list[str]:
    """Commands, and the text between them."""
    return [
        f"""# From a Hugging Face directory to an answer

What the commands print on a real model, SmolLM2-135M-Instruct, at 80 columns. `make runtimes-tour` writes this page anew.
All programs run on the processor. Versions: {versions}.

The directory has what `from_pretrained` loads:
""",
        f"ls {MODEL}",
        """## llama.cpp

Rows of this model have 576 weights, so it takes types of 32 weights to a block:
""",
        f"ingot export {MODEL} smollm2-Q8_0.gguf --to gguf --type Q8_0",
        f"ingot verify smollm2-Q8_0.gguf --against {MODEL} --top 0",
        "The file has names, hyperparameters, tokenizer and chat template. llama.cpp's own program answers:",
        f"llama-completion -m smollm2-Q8_0.gguf -p '{QUESTION}' \\\n    --single-turn --temp 0 -n 32 --threads 1 -lv 0",
        "Both programs compute the perplexity of the same token ids. llama.cpp rounds activations to 8 bits, hence the small difference:",
        "ingot evaluate smollm2-Q8_0.gguf --text prose.txt --tokens 1024 -q",
        "llama-perplexity -m smollm2-Q8_0.gguf -f prose.txt -c 512 --chunks 2 \\\n    --threads 1 -lv 0",
        "## mlx-lm\n",
        f"ingot export {MODEL} smollm2-mlx --to mlx --bits 8 --group-size 64",
        f"mlx_lm.generate --model smollm2-mlx --max-tokens 32 --temp 0 \\\n    --verbose False --prompt '{QUESTION}'",
        """## transformers

With compressed-tensors, which vLLM loads too:
""",
        f"ingot export {MODEL} smollm2-w8a16 --to compressed-tensors --bits 8 \\\n    --group-size 64",
        python(DIRECTORY),
        "transformers reads the GGUF file too:",
        python(FILE),
        """[exports.md](exports.md) says what each format has. `make bench-runtimes` compares the perplexities of all of
them with those of the runtimes.
""",
    ]  # fmt: skip


def narrow(block: str) -> str:
    if wide := [line for line in block.splitlines() if len(line) > 80]:
        raise SystemExit("wider than 80 columns:\n" + "\n".join(wide))
    return block


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ingot", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--build", type=Path, metavar="FOLDER")
    arguments = parser.parse_args()
    ingot, build = arguments.ingot.resolve(strict=True), (arguments.build or llamacpp.build(PROGRAMS)).resolve()
    names = ("mlx-lm", "mlx", "transformers", "compressed-tensors")
    versions = ", ".join([f"llama.cpp of llama-cpp-python {llamacpp.pinned()}", *(f"{name} {version(name)}" for name in names)])
    page = parts(versions)
    for command in filter(lambda part: part.startswith(COMMANDS), page):
        narrow(f"$ {command}")
    with tempfile.TemporaryDirectory(prefix="ingot-tour.", dir=smollm2.bench_directory()) as name:
        folder = Path(name)
        (folder / "bin").mkdir()
        (folder / "bin/ingot").symlink_to(ingot)
        smollm2.export(ingot, folder).rename(folder / MODEL)
        (folder / "prose.txt").symlink_to(ROOT / "SampleWeights/heldout-prose.txt")
        path = [folder / "bin", build / "bin", Path(sys.executable).parent, os.environ["PATH"]]
        variables = os.environ | {
            "PATH": ":".join(map(str, path)), "COLUMNS": "80", "LC_ALL": "C.UTF-8", "NO_COLOR": "1", "HF_HUB_OFFLINE": "1",
            "TQDM_DISABLE": "1", "TRANSFORMERS_VERBOSITY": "error", "TOKENIZERS_PARALLELISM": "false", "PYTHONWARNINGS": "ignore",
        }  # fmt: skip

        def shell(command: str) -> str:
            """The command and its standard output, as a block. Progress and messages on standard error are left out."""
            for _ in range(10):
                done = subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=folder, env=variables, text=True, capture_output=True)
                # Another thread writes llama.cpp's log, and sometimes the program ends before the last lines are written.
                if not command.startswith("llama-perplexity") or "[2]" in done.stdout:
                    break
            if done.returncode:
                raise SystemExit(f"{command}: exit status {done.returncode}\n{done.stdout}\n{done.stderr}")
            lines = [line.rstrip() for line in done.stdout.strip().splitlines()]
            block = narrow("\n".join([f"$ {command}", *lines]))
            print(block, file=sys.stderr)
            return f"```\n{block}\n```\n"

        text = [shell(part) if part.startswith(COMMANDS) else part.rstrip() + "\n" for part in page]
    arguments.target.write_text("\n".join(text).replace(name, "..."))


if __name__ == "__main__":
    main()
