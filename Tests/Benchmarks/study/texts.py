"""Calibration texts of the study, from files that no held-out text has.

Code is the Python standard library. Prose is the paragraphs of the Python manual (Debian's python3.11-doc), without code blocks and tables.
SampleWeights/training/record.json lists the files of SampleWeights/heldout-code.txt and heldout-prose.txt; they are left out here. A
record beside each text names its files, and the lines that it shares with the held-out text.
"""

import functools
import hashlib
import json
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
SAMPLE = REPOSITORY / "SampleWeights"
HELD_OUT = {"code": SAMPLE / "heldout-code.txt", "prose": SAMPLE / "heldout-prose.txt"}
STDLIB, MANUAL = Path("/usr/lib/python3.11"), Path("/usr/share/doc/python3.11/html/_sources")
NOT_CODE = r"(^|/)(pydoc_data|encodings|test|tests|idlelib|dist-packages|site-packages)/|_sysconfigdata|sitecustomize|html/entities|config-3"
NOT_PROSE = r"^(license|copyright|contents|whatsnew/changelog)"
SEED, MOST_OF_A_FILE, LEAST_OF_A_FILE = 20270411, 12_000, 1_500  # characters
LONG_LINE = 40  # characters: shorter lines are shared by chance


def held_out_files() -> set[str]:
    data = json.loads((SAMPLE / "training/record.json").read_text())["data"]
    return {name for kind in data.values() if isinstance(kind, dict) for name in kind.get("heldout_files", [])}


def _paragraphs(text: str) -> str:
    """SampleWeights' own way from reStructuredText to prose. Needs numpy and tokenizers, which its module loads."""
    sys.path.insert(0, str(SAMPLE))
    from training.data import rst_to_prose

    return "\n\n".join(rst_to_prose(text))


def _documents(kind: str):
    """Names and texts, in the order of SEED."""
    root, pattern, prefix, skipped = {
        "code": (STDLIB, "*.py", "stdlib", NOT_CODE),
        "prose": (MANUAL, "*.rst.txt", "python-doc", NOT_PROSE),
    }[kind]
    if not root.is_dir():
        sys.exit(f"{root} is missing: install {'libpython3.11-stdlib' if kind == 'code' else 'python3.11-doc'}")
    held = held_out_files()
    found = [(f"{prefix}/{path.relative_to(root)}", path) for path in sorted(root.rglob(pattern))]
    found = [(name, path) for name, path in found if name not in held and not re.search(skipped, name.split("/", 1)[1])]
    random.Random(SEED).shuffle(found)
    for name, path in found:
        text = path.read_text(errors="ignore")
        text = text if kind == "code" else _paragraphs(text)
        if len(text) >= LEAST_OF_A_FILE:
            yield name, text[:MOST_OF_A_FILE]


@functools.cache
def _documents_up_to(kind: str, characters: int) -> list[tuple[str, str]]:
    taken, size = [], 0
    for document in _documents(kind):
        taken.append(document)
        size += len(document[1])
        if size >= characters:
            return taken
    sys.exit(f"{kind}: all files have {size} characters, {characters} are needed")


def shared_lines(text: str, held_out: Path) -> tuple[int, int]:
    """How many long lines of the held-out text are in `text`, and how many it has."""
    lines = {line.strip() for line in text.splitlines()}
    long = [line.strip() for line in held_out.read_text().splitlines() if len(line.strip()) >= LONG_LINE]
    return sum(line in lines for line in long), len(long)


def tokens_of(ingot: Path, model: Path, text: str, folder: Path) -> int:
    """Tokens of a text by `ingot tokenize`."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        source, ids = Path(name) / "text", Path(name) / "ids.npy"
        source.write_text(text)
        subprocess.run([ingot, "tokenize", model, "--text", source, "-o", ids], check=True, stdout=subprocess.DEVNULL)
        with open(ids, "rb") as file:
            header = file.read(256)
        return int(re.search(rb"'shape': \((\d+),", header)[1])


def _cut(ingot: Path, model: Path, text: str, tokens: int, folder: Path) -> str:
    """The beginning of a text that has `tokens` tokens, or up to 64 more."""
    low, high = 0, len(text)
    if tokens_of(ingot, model, text, folder) < tokens:
        sys.exit(f"a calibration text has fewer than {tokens} tokens")
    while high - low > 16:
        middle = (low + high) // 2
        low, high = (low, middle) if tokens_of(ingot, model, text[:middle], folder) >= tokens else (middle, high)
    return text[:high]


def calibration_text(ingot: Path, model: Path, name: str, kind: str, tokens: int, folder: Path, source: Path | None = None) -> Path:
    """A file with `tokens` tokens of `kind`, written once. `source` is a text to take it from, instead of the files of this machine."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{kind}-{tokens}.txt"
    if source:
        documents, text = [(source.name, None)], source.read_text()
        held_out = source.with_name(f"held-out-{kind}.txt")
    else:
        documents = _documents_up_to(kind, 8 * tokens)
        text, held_out = "\n\n".join(text for _, text in documents), HELD_OUT[kind]
    digest = hashlib.sha256(text.encode()).hexdigest()
    record = path.with_suffix(".json")
    if path.exists() and record.exists() and json.loads(record.read_text())["from_sha256"] == digest:
        return path
    cut = _cut(ingot, model, text, tokens, folder)
    names, size = [], 0
    for document, content in documents:
        if size < len(cut):
            names.append(document)
        size += len(content or "") + 2
    shared, long = shared_lines(cut, held_out)
    path.write_text(cut)
    record.write_text(json.dumps({"from_sha256": digest, "tokens": tokens, "files": names, "held_out": held_out.name,
                                  "long_lines_of_held_out_text": long, "of_them_in_this_text": shared}, indent=1))  # fmt: skip
    return path
