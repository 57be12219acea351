"""The helpers beside this folder are found, peers print no progress bars, and models are made once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
sys.path.insert(0, str(HERE))

import models  # noqa: E402

INGOT = Path(os.environ.get("INGOT", models.ROOT / ".build/release/ingot")).absolute()


@pytest.fixture(scope="session")
def ingot():
    """Runs the command. Returns what it printed; `code` is the expected exit code."""

    def run(*arguments, code=0):
        done = subprocess.run([INGOT, *map(str, arguments)], capture_output=True, text=True, cwd=models.ROOT)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    return run


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    """The directory of a model by its name; "sample" is the one of the repository."""
    made = {"sample": models.ROOT / "SampleWeights"}

    def get(name):
        if name not in made:
            made[name] = models.build(name, tmp_path_factory.mktemp("models") / name)
        return made[name]

    return get


@pytest.fixture(scope="session")
def gguf_export(ingot, tmp_path_factory):
    """Exports a directory to GGUF; the same arguments give the same file again."""
    made = {}

    def export(folder, *arguments):
        key = folder, *arguments
        if key not in made:
            made[key] = tmp_path_factory.mktemp("gguf") / "model.gguf"
            ingot("export", folder, made[key], "--to", "gguf", *arguments)
        return made[key]

    return export
