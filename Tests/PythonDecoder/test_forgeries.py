"""Forgeries against both readers: every rule of Specs/container.md, section 10, broken in a checkpoint whose hashes are all right.

The decoder in this folder and `ingot verify` (exit status 65) must both refuse each of them, and take the checkpoints as they were.
"""

import json
import random
import shutil
import struct
import subprocess

import numpy as np
import pytest

import ingot_decoder as decoder
import reseal
import share
from forgeries import ALLOWED, FORGERIES, INDEX, NAMES
from test_decoder import INGOT, ROOT, ingot, same_files

ALL_MUTATIONS = 300
MUTATIONS = share.count(ALL_MUTATIONS)
METADATA = {"license": "mit", "format": "pt", "lora": '{"rank": 8, "ä": "\\n"}'}


def write_source(folder, shards, metadata=None):
    folder.mkdir()
    weight_map = {}
    for number, tensors in enumerate(shards):
        name = f"model-{number + 1:05}-of-{len(shards):05}.safetensors" if len(shards) > 1 else "model.safetensors"
        header = {"__metadata__": metadata} if metadata else {}
        data = b""
        for tensor, dtype, shape, piece in tensors:
            header[tensor] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(piece)]}
            data += piece
            weight_map[tensor] = name
        text = json.dumps(header).encode()
        (folder / name).write_bytes(struct.pack("<Q", len(text)) + text + data)
    if len(shards) > 1:
        index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text('{"model_type": "none", "inner": {"a": [1, NaN]}}\n')
    (folder / "notes.txt").write_text("notes")
    (folder / "sub").mkdir()
    (folder / "sub/more.json").write_text("{}")
    return folder


def matrix(rng, rows, columns):
    return (rng.standard_normal((rows, columns)) * 0.05).astype("<f2").tobytes()


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """Checkpoints by name: one shard, lossless; two shards, uniform; two shards of scheme trellis, with either coder of symbols."""
    rng, folder = np.random.default_rng(8), tmp_path_factory.mktemp("bases")
    one = [
        ("a.weight", "F16", [6, 40], matrix(rng, 6, 40)), ("b.weight", "F16", [5, 40], matrix(rng, 5, 40)),
        ("kept.i64", "I64", [2], bytes(16)), ("kept.f32", "F32", [3], bytes(12)), ("kept.empty", "F32", [0, 2], b""),
        ("kept.f16", "F16", [5], bytes(10)), ("kept.u8", "U8", [3], b"abc"),
    ]  # fmt: skip
    ingot("convert", write_source(folder / "s1", [one], METADATA), folder / "one", "--scheme", "lossless")
    two = [[("a.weight", "F16", [8, 96], matrix(rng, 8, 96)), ("a.norm", "F16", [9], bytes(18))],
           [("b.weight", "F16", [5, 33], matrix(rng, 5, 33)), ("b.norm", "F32", [4], bytes(16))]]  # fmt: skip
    ingot("convert", write_source(folder / "s2", two), folder / "two", "--scheme", "uniform", "--codec", "none")
    for codec in ("rans", "lz4"):
        ingot("convert", folder / "s2", folder / codec, "--codec", codec)
    return {name: folder / name for name in ("one", "two", "rans", "lz4")}


# ---------------------------------------------------------------- both readers


def by_decoder(folder):
    """None, or why this folder's decoder refuses it."""
    try:
        for t in decoder.open_checkpoint(str(folder)).values():
            t.decode()
    except decoder.Damaged as error:
        return str(error)
    return None


def by_ingot(folder, *arguments):
    return subprocess.run([INGOT, *(arguments or ("verify",)), folder], capture_output=True, text=True, timeout=600)


def forge(base, folder, change):
    forged = reseal.Forged.read(base)
    change(forged)
    forged.write(folder)


@pytest.mark.parametrize("base", ["one", "two"])
def test_untouched(bases, tmp_path, base):
    """What is taken apart and put together again is the same to the byte, and both readers take it."""
    forge(bases[base], tmp_path / "q", lambda c: None)
    same_files(bases[base], tmp_path / "q")
    assert by_decoder(tmp_path / "q") is None
    done = by_ingot(tmp_path / "q")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("number", range(len(FORGERIES)), ids=lambda n: f"{FORGERIES[n][0]}-{n}")
def test_refused_by_both(bases, tmp_path, number):
    rule, base, change = FORGERIES[number]
    forge(bases[base], tmp_path / "q", change)
    refusal = by_decoder(tmp_path / "q")
    done = by_ingot(tmp_path / "q")
    assert refusal is not None, f"{rule}: the decoder takes it; ingot: {done.returncode} {done.stderr}"
    assert done.returncode == 65, f"{rule}: ingot {done.returncode} {done.stderr}; the decoder: {refusal}"
    assert "file:" in done.stderr and "found" not in done.stdout, done.stderr
    assert len(done.stderr) < 4000, f"{rule}: {len(done.stderr)} bytes of messages"


@pytest.mark.parametrize("number", range(len(ALLOWED)), ids=lambda n: ALLOWED[n][0].replace(" ", "-"))
def test_taken_by_both(bases, tmp_path, number):
    what, base, change = ALLOWED[number]
    forge(bases[base], tmp_path / "q", change)
    assert by_decoder(tmp_path / "q") is None, what
    done = by_ingot(tmp_path / "q")
    assert done.returncode == 0, f"{what}: {done.stderr}"
    assert len(done.stderr) < 4000
    assert by_ingot(tmp_path / "q", "inspect", "--headers-only").returncode == 0


def test_every_rule_is_broken():
    text = (ROOT / "Specs/container.md").read_text()
    rules = {line[2:4] for line in text[text.index("## 10.") :].splitlines() if line.startswith("- ")}
    assert rules == {rule for rule, *_ in FORGERIES}
    print(f"count: {len(FORGERIES)} C03 rules broken under right hashes, refused by both readers")


# Rules that `inspect`, `export` and `diff` find, too, when they open a checkpoint.
AT_OPENING = [n for n, (rule, *_) in enumerate(FORGERIES) if rule[0] in "NTH"]


@pytest.mark.parametrize("number", AT_OPENING, ids=lambda n: f"{FORGERIES[n][0]}-{n}")
def test_refused_at_opening(bases, tmp_path, number):
    rule, base, change = FORGERIES[number]
    forge(bases[base], tmp_path / "q", change)
    for arguments in (["inspect", "--headers-only"], ["diff", bases["one"]]):
        done = by_ingot(tmp_path / "q", *arguments)
        assert done.returncode == 65, f"{rule}: {arguments[0]} {done.returncode} {done.stderr}"


@pytest.mark.parametrize("number", [n for n, (rule, *_) in enumerate(FORGERIES) if rule in ("N4", "T2", "T3", "D2", "L1", "L2", "H8")],
                         ids=lambda n: f"{FORGERIES[n][0]}-{n}")  # fmt: skip
def test_refused_by_export(bases, tmp_path, number):
    rule, base, change = FORGERIES[number]
    forge(bases[base], tmp_path / "q", change)
    done = subprocess.run([INGOT, "export", tmp_path / "q", tmp_path / "out"], capture_output=True, text=True, timeout=600)
    assert done.returncode == 65 and not (tmp_path / "out").exists(), f"{rule}: {done.returncode} {done.stderr}"


# ---------------------------------------------------------------- directories of plain safetensors


PLAIN = {
    "no index": lambda d: (d / INDEX).unlink(),
    "one of two shards, and no index": lambda d: ((d / INDEX).unlink(), (d / NAMES[1]).unlink()),
    "a shard that is gone": lambda d: (d / NAMES[1]).unlink(),
    "a tensor in another shard": lambda d: rewrite_index(d, {"a.norm": NAMES[1]}),
    "a tensor that is nowhere": lambda d: rewrite_index(d, {"c.norm": NAMES[1]}),
    "a tensor that is not named": lambda d: rewrite_index(d, {"a.norm": None}),
}


def rewrite_index(folder, changes):
    index = json.loads((folder / INDEX).read_text())
    map_ = index["weight_map"] | changes
    index["weight_map"] = {name: shard for name, shard in map_.items() if shard is not None}
    (folder / INDEX).write_text(json.dumps(index))


@pytest.mark.parametrize("what", PLAIN)
def test_plain_directories(bases, tmp_path, what):
    """A source, or an export, of several shards is refused by every verb without the index that it has to have."""
    folder = tmp_path / "s"
    shutil.copytree(bases["two"].parent / "s2", folder)
    assert by_ingot(folder, "inspect", "--headers-only").returncode == 0
    PLAIN[what](folder)
    for arguments in (["inspect", "--headers-only"], ["inspect"], ["diff", bases["two"]], ["verify", bases["two"], "--against"], ["plan"]):
        done = by_ingot(folder, *arguments)
        assert done.returncode == 65, f"{what}: {arguments}: {done.returncode} {done.stderr}"
    done = subprocess.run([INGOT, "convert", folder, tmp_path / "q"], capture_output=True, text=True, timeout=600)
    assert done.returncode == 65 and not (tmp_path / "q").exists(), done.stderr


# ---------------------------------------------------------------- changed at random


def mutate(rng, value):
    """A JSON value with one thing changed somewhere in it."""
    strange = [0, 1, 2, -1, 7, 2**31, 2**63, 2**64 - 1, 0.5, True, None, "", "a", "ingot", "model.safetensors", [], {}, ["a"], {"a": 1}]
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        how = rng.randrange(6)
        if how == 0:
            return {k: v for k, v in value.items() if k != key}
        if how == 1:
            return value | {rng.choice(["more", "name", "format", "a.norm", key + "x"]): rng.choice(strange)}
        if how == 2:
            items = list(value.items())
            rng.shuffle(items)
            return dict(items)
        return {k: mutate(rng, v) if k == key else v for k, v in value.items()}
    if isinstance(value, list) and value and rng.random() < 0.8:
        at = rng.randrange(len(value))
        how = rng.randrange(4)
        if how == 0:
            return value[:at] + value[at + 1 :]
        if how == 1:
            return value[:at] + [value[at]] + value[at:]
        return [mutate(rng, v) if i == at else v for i, v in enumerate(value)]
    if type(value) is int and rng.random() < 0.5:
        return max(0, value + rng.choice([-64, -1, 1, 64]))
    if type(value) is str and value and rng.random() < 0.6:
        at = rng.randrange(len(value))
        return value[:at] + rng.choice(["", "0", "a", "/", " "]) + value[at + 1 :]
    return rng.choice(strange)


def mutated(rng, c):
    """Changes one of the texts of a checkpoint; its name."""
    kinds = ["manifest", "entries", "index", "config", "metadata", "ingot", "description", "source", "field", "order"]
    what = rng.choice([*kinds, "front", "front", "chunk", "chunk", "chunk"])
    shard = rng.choice(list(c.shards.values()))
    encoded = rng.choice([e for e in shard.entries if e.front is not None])
    if what == "manifest":
        c.manifest = mutate(rng, c.manifest)
        if not isinstance(c.manifest, dict):
            c.manifest = {"format": c.manifest}
    elif what == "entries":
        c.entries = lambda listed: mutate(rng, listed)
    elif what == "index" and len(c.shards) > 1:
        c.index = json.dumps(mutate(rng, c.index)).encode()
    elif what == "config":
        value = json.loads(c.files["config.json"])
        c.files["config.json"] = json.dumps(mutate(rng, value)).encode()
    elif what == "metadata":
        shard.metadata = mutate(rng, shard.metadata)
    elif what == "ingot":
        shard.metadata["ingot"] = reseal.compact(mutate(rng, json.loads(shard.metadata["ingot"])))
    elif what == "source" and decoder.SOURCE_METADATA in shard.metadata:
        carried = mutate(rng, json.loads(shard.metadata[decoder.SOURCE_METADATA]))
        shard.metadata[decoder.SOURCE_METADATA] = reseal.compact(carried)
    elif what == "field":
        entry = rng.choice(shard.entries)
        entry.fields = mutate(rng, {"dtype": entry.dtype, "shape": entry.shape})
        entry.fields = entry.fields if isinstance(entry.fields, dict) else {"dtype": entry.fields}
    elif what == "order":
        rng.shuffle(shard.entries)
    elif what == "front":
        encoded.data[rng.randrange(encoded.front)] ^= 1 << rng.randrange(8)
    elif what == "chunk":
        for _ in range(rng.randint(1, 3)):
            encoded.data[rng.randrange(encoded.front, len(encoded.data))] ^= 1 << rng.randrange(8)
        encoded.rehash()
    else:
        name = encoded.name
        shard.metadata[f"ingot:{name}"] = reseal.compact(mutate(rng, shard.about(name)))
    return what


def test_readers_agree(bases, tmp_path):
    """Texts, tables and chunks changed at random under right hashes: what one reader takes the other takes."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed: {seed}")
    counts = {"taken": 0, "refused": 0}
    for number in range(MUTATIONS):
        rng = random.Random(seed * 100_003 + number)
        forged = reseal.Forged.read(bases[rng.choice(list(bases))])
        what = mutated(rng, forged)
        folder = tmp_path / "q"
        forged.write(folder)
        refusal, done = by_decoder(folder), by_ingot(folder)
        assert done.returncode in (0, 65), f"seed {seed}, case {number}, {what}: {done.returncode} {done.stderr}"
        assert (refusal is None) == (done.returncode == 0), f"seed {seed}, case {number}, {what}: {refusal}; {done.stderr}"
        counts["refused" if refusal else "taken"] += 1
        shutil.rmtree(folder)
    assert counts["refused"] > MUTATIONS / 3 and counts["taken"] > MUTATIONS / 50
    tried = f"{MUTATIONS}" + (f" of {ALL_MUTATIONS}" if MUTATIONS < ALL_MUTATIONS else "")
    print(f"count: {tried} C03 texts, tables and chunks changed at random under right hashes: both readers take {counts['taken']}, both refuse {counts['refused']}")


# ---------------------------------------------------------------- the source's __metadata__


def test_metadata_is_carried(bases, tmp_path):
    assert decoder.metadata_of_source(bases["one"]) == {"model.safetensors": METADATA}
    assert list(decoder.metadata_of_source(bases["one"])["model.safetensors"]) == list(METADATA)
    assert set(map(str, decoder.metadata_of_source(bases["two"]).values())) == {"{}"}
    ingot("export", bases["one"], tmp_path / "e")
    exported = decoder.safetensors_header((tmp_path / "e/model.safetensors").read_bytes(), "export")[1]
    assert list(exported)[: len(METADATA)] == list(METADATA)
    assert {k: exported[k] for k in METADATA} == METADATA and exported["exported_by"].startswith("ingot ")
    ingot("convert", tmp_path / "e", tmp_path / "again", "--scheme", "lossless")
    ingot("export", tmp_path / "again", tmp_path / "e2")
    again = decoder.safetensors_header((tmp_path / "e2/model.safetensors").read_bytes(), "export")[1]
    assert again.keys() == exported.keys() and {k: again[k] for k in METADATA} == METADATA
