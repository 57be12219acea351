"""Calibrated tensors: scale bytes, and the certificate over activations (Specs/trellis.md, sections 2 and 5).

What `ingot convert --calibration` writes is read by the decoder here and certified with moments in binary64; `forge.py` makes payloads
with scale bytes of both forms and all codecs, also such as the encoder never writes, which `ingot` reads.
"""

import json
import shutil

import numpy as np
import pytest
import safetensors.numpy

import forge
import ingot_decoder as decoder
import moments
import reseal
from forgeries import ingot_text
from test_decoder import SAMPLE, check, ingot, random_floats
from test_rans import some_coder
from test_trellis import both_read, forged, judge, symbols_for

INPUTS = {"q_proj": "attention_in", "k_proj": "attention_in", "v_proj": "attention_in", "o_proj": "output_in",
          "gate_proj": "feed_forward_in", "up_proj": "feed_forward_in", "down_proj": "down_in"}  # fmt: skip


def input_of(name):
    """The input of moments.md that a matrix of a Hugging Face model reads."""
    if name == "lm_head.weight":
        return "head_in"
    parts = name.split(".")
    return f"layers.{parts[2]}.{INPUTS[parts[-2]]}"


# ---------------------------------------------------------------- conversions


@pytest.fixture(scope="module")
def gathered(tmp_path_factory):
    """Files of moments of SampleWeights by the rule of their blocks: one of `ingot calibrate`, the others made from it."""
    folder = tmp_path_factory.mktemp("moments")
    paths = {rule: folder / f"{rule.replace(':', '')}.safetensors" for rule in ("usual", "blocks:48", "diagonal")}
    ingot("calibrate", SAMPLE, "-o", paths["usual"], "--text", SAMPLE / "heldout-prose.txt", "--tokens", 1024)
    _, inputs, _ = moments.read(paths["usual"])
    whole = {name: (i.tokens, i.weights, i.shrinkage, i.diagonals, i.blocks[0]) for name, i in inputs.items()}
    moments.write(paths["blocks:48"], whole, "blocks:48")
    moments.write(paths["diagonal"], {name: (*i[:2], 0, *i[3:]) for name, i in whole.items()}, "diagonal")
    return paths


@pytest.fixture(scope="module")
def spiked(tmp_path_factory):
    """SampleWeights with weights that no symbol reaches."""
    folder = tmp_path_factory.mktemp("spiked")
    for file in ("config.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors"):
        shutil.copyfile(SAMPLE / file, folder / file)
    file, rng = "model-00002-of-00002.safetensors", np.random.default_rng(20)
    tensors = {name: value.copy() for name, value in safetensors.numpy.load_file(SAMPLE / file).items()}
    for name in ("model.layers.3.self_attn.q_proj.weight", "model.layers.3.mlp.down_proj.weight"):
        flat = tensors[name].reshape(-1)
        flat[rng.choice(flat.size, 20, replace=False)] = rng.choice([-60.0, 45.0, 65504.0], 20)
    safetensors.numpy.save_file(tensors, folder / file)
    return folder


def certified(tensors, source, path, digest):
    """The certificates over activations of all calibrated tensors, recomputed in binary64. Returns how many there are."""
    _, inputs, _ = moments.read(path)
    original, count = decoder.read_source(str(source)), 0
    for name, tensor in tensors.items():
        if not (tensor.about and "h_signal" in tensor.about):
            continue
        dtype, _, data = original[name]
        unsigned = np.frombuffer(data, {2: "<u2", 4: "<u4"}[decoder.WIDTH[dtype]])
        w = decoder.to_float32(unsigned, dtype).reshape(tensor.shape).astype(np.float64)
        e = w - np.frombuffer(tensor.decode()[1], "<f4").reshape(tensor.shape)
        signal = noise = 0.0
        at = 0
        for block in inputs[input_of(name)].blocks:
            h, columns = block.astype(np.float64), slice(at, at + len(block))
            signal += np.sum(w[:, columns] @ h * w[:, columns])
            noise += np.sum(e[:, columns] @ h * e[:, columns])
            at += len(block)
        assert at == tensor.shape[1]
        assert decoder.of_hex_f64(tensor.about["h_signal"]) == pytest.approx(signal, rel=1e-4), name
        assert decoder.of_hex_f64(tensor.about["h_noise"]) == pytest.approx(noise, rel=1e-4), name
        assert tensor.about["calibration_xxh3_128"] == digest, name
        count += 1
    return count


def convert_and_certify(source, folder, path, *options):
    ingot("convert", source, folder / "q", "--calibration", path, *options)
    ingot("export", folder / "q", folder / "f32", "--to", "safetensors", "--dtype", "f32")
    tensors = check(source, folder / "q", folder / "f32")
    digest = decoder.xxh3_128(path.read_bytes())
    assert decoder.read_manifest(folder / "q")["options"]["calibration_xxh3_128"] == digest
    return tensors, certified(tensors, source, path, digest)


@pytest.mark.parametrize("rule,options,calibrated", [
    ("usual", "--bits 3 --codec rans", 29), ("blocks:48", "--bits 3.5 --codec zstd --states 8", 29),
    ("diagonal", "--bits 2.5 --codec zstd --states 16", 29),
])  # fmt: skip
def test_conversions(tmp_path, gathered, rule, options, calibrated):
    tensors, count = convert_and_certify(SAMPLE, tmp_path, gathered[rule], *options.split())
    assert count >= calibrated
    assert {t.about["codec"] for t in tensors.values() if t.scheme == "trellis"} == {options.split()[3]}
    for name, tensor in tensors.items():
        if tensor.about and "scale_bytes" in tensor.about:
            assert len(set(tensor.side)) > 4, name  # columns differ
            assert len({float(chunk.step) for chunk in tensor.chunks}) == 1, name


def test_patches(tmp_path, gathered, spiked):
    """Outliers are stored as they are, or as their targets; errors of others still are carried past them."""
    tensors, count = convert_and_certify(spiked, tmp_path, gathered["usual"], "--bits", 4, "--codec", "zstd")
    assert count == 29
    patches = {n: sum(len(c.streams[-1][0]) // 6 for c in t.chunks) for n, t in tensors.items() if t.about}
    assert patches["model.layers.3.self_attn.q_proj.weight"] >= 10, patches


# ---------------------------------------------------------------- forgeries that are right


def with_scales(rng, about, original, data, reach, coder=None):
    """A forgery with scale bytes around 128, and its weights."""
    rows, columns = forge.matrix_of(about)
    side = rng.integers(128 - reach, 128 + reach, columns, np.uint8)
    of_rows = rng.integers(128 - reach, 128 + reach, rows, np.uint8) if about["scale_bytes"] == "columns_rows" else side[:0]
    width, tiles, whole = decoder.WIDTH[about["dtype"]], [], np.empty((rows, columns), np.float32)
    for place in forge.places(about):
        w = original[place]
        chosen = np.sort(rng.choice(w.size, min(w.size, 3), replace=False)) if rng.random() < 0.6 else []
        patches = [(int(i), data[int(i) * width :][:width]) for i in chosen]
        row_class = rng.integers(0, about["row_classes"], len(w))
        step = float(np.float32(rng.uniform(0.001, 0.3)))
        symbols = coder.draw(about, rng) if coder else symbols_for(rng, about, w.shape)
        scales = side[place[1]].tolist(), of_rows[place[0]].tolist()
        tile, restored = forge.tile_of(about, symbols, step, row_class, patches, coder, scales)
        tile.sums, whole[place] = decoder.errors(w.reshape(-1), restored.reshape(-1)), restored
        tiles.append(tile)
    return tiles, (side.tobytes() + of_rows.tobytes()), whole


def test_forged_scale_bytes_of_every_kind(tmp_path):
    """Both forms, all codecs, types and numbers of row classes, tiles of several bands and strips, bytes from the least to the greatest."""
    rng, forgeries, sources, expected = np.random.default_rng(31), [], [], {}
    shapes = [[20, 70], [33, 130], [2, 5, 64], [1, 5], [7, 1]]
    number = 0
    for codec in decoder.CODECS:
        for form in decoder.SCALE_BYTES:
            for alphabet, low_bits in ((8, 0), (6, 0), (64, 0), (256, 0), (256, 3)):
                for states in (8, 16, 32):
                    classes = 1 + number % 4
                    if codec == "rans":
                        alphabet, classes = 256, 1
                    dtype, shape = list(decoder.WIDTH)[number % 3], shapes[number % 5]
                    if number in (17, 64):
                        shape = [5000, 3] if number == 17 else [520, 700]
                    data = random_floats(rng, dtype, shape)
                    about = forge.describe(
                        dtype, shape, states=states, alphabet=alphabet, low_bits=low_bits, row_classes=classes, codec=codec,
                        source=data, scale_bytes=form, calibrated=number % 2 == 0)  # fmt: skip
                    unsigned = {2: "<u2", 4: "<u4"}[decoder.WIDTH[dtype]]
                    original = decoder.to_float32(np.frombuffer(data, unsigned), dtype).reshape(forge.matrix_of(about))
                    reach = (4, 40, 128)[number % 3] if dtype != "F16" else 20
                    coder = some_coder(rng, about) if codec == "rans" else None
                    tiles, side, whole = with_scales(rng, about, original, data, reach, coder)
                    name = f"m{number:03}"
                    forgeries.append(forge.Forgery(name, about, tiles, side=side))
                    sources.append((name, dtype, shape, data))
                    expected[name] = whole.tobytes()
                    number += 1
    plain = random_floats(rng, "F32", [5, 7])
    about = forge.describe("F32", [5, 7], source=plain)
    tile, whole = forge.tile_of(about, symbols_for(rng, about, (5, 7)), 0.25)
    tile.sums = decoder.errors(np.frombuffer(plain, "<f4"), whole.reshape(-1))
    forgeries.append(forge.Forgery("without", about, [tile]))
    sources.append(("without", "F32", [5, 7], plain))
    expected["without"] = whole.tobytes()
    both_read(tmp_path, forgeries, sources, expected)


def test_every_scale(tmp_path):
    """All 256 bytes, of columns and of rows, against powers of two in binary64."""
    about = forge.describe("F32", [256, 256], alphabet=16, scale_bytes="columns_rows")
    every = list(range(256))
    tile, restored = forge.tile_of(about, np.full((256, 256), 1), 0.75, scales=(every, every))
    weights = judge(tmp_path, forge.Forgery("m", about, [tile], side=bytes(every * 2)), legal=True).reshape(256, 256)
    assert (weights == restored).all()
    exact = 2.0 ** ((np.arange(256) - 128) / 8)
    levels = np.rint(weights / (0.75 * exact[:, None] * exact))
    assert set(levels.reshape(-1)) <= {2, 3}
    assert np.allclose(weights, levels * 0.75 * exact[:, None] * exact, rtol=3e-7, atol=0)


# ---------------------------------------------------------------- forgeries that are wrong


def scaled(form="columns", calibrated=True, **parameters):
    forgery = forged(scale_bytes=form, calibrated=calibrated, **parameters)
    rows, columns = forge.matrix_of(forgery.about)
    forgery.side = bytes(range(125, 125 + columns)) + (bytes(range(126, 126 + rows)) if form == "columns_rows" else b"")
    return forgery


@pytest.mark.parametrize("change", [
    {"scale_bytes": "rows"}, {"scale_bytes": "columns_rows"}, {"scale_bytes": True}, {"scale_bytes": ""}, {"scale_bytes": None},
    {"h_signal": None}, {"h_noise": None}, {"calibration_xxh3_128": None}, {"h_signal": None, "h_noise": None},
    {"h_signal": None, "calibration_xxh3_128": None}, {"h_noise": decoder.hex_f64(-0.0)}, {"h_noise": decoder.hex_f64(-1.0)},
    {"h_signal": decoder.hex_f64(np.inf)}, {"h_signal": decoder.hex_f64(np.nan)}, {"h_signal": "2"}, {"h_signal": 2.0},
    {"h_signal": "400000000000000G"}, {"calibration_xxh3_128": "0" * 31}, {"calibration_xxh3_128": "A" * 32}, {"h_max": "0" * 16},
], ids=str)  # fmt: skip
def test_refused_descriptions(tmp_path, change, monkeypatch):
    forgery = scaled()
    judge(tmp_path, forgery, legal=True)
    data, table_end = forge.payload(forgery)
    forgery.about = {k: v for k, v in (forgery.about | change).items() if v is not None}
    monkeypatch.setattr(forge, "payload", lambda _: (data, table_end))
    judge(tmp_path, forgery, what=str(change))


def test_refused_members_of_others(tmp_path, monkeypatch):
    """Moments beside no scale bytes; scale bytes after the codec."""
    forgery = forged(calibrated=True)
    judge(tmp_path, forgery, what="a certificate over activations without scale bytes")
    forgery = scaled()
    data, table_end = forge.payload(forgery)
    form = forgery.about.pop("scale_bytes")
    forgery.about = {k: v for key, value in forgery.about.items() for k, v in
                     ((key, value), *((("scale_bytes", form),) if key == "codec" else ()))}  # fmt: skip
    monkeypatch.setattr(forge, "payload", lambda _: (data, table_end))
    judge(tmp_path, forgery, what="order of members")


@pytest.mark.parametrize("form,length", [("columns", 0), ("columns", 6), ("columns", 8), ("columns", 12), ("columns_rows", 7),
                                         ("columns_rows", 13), ("columns_rows", 5)])  # fmt: skip
def test_refused_lengths(tmp_path, form, length):
    """Other lengths than the description's, in prologue and payload."""
    forgery = scaled(form)
    judge(tmp_path, forgery, legal=True)
    forgery.side = bytes([128] * length)
    judge(tmp_path, forgery, what=f"{length} bytes")


@pytest.mark.parametrize("value", [0, 6, 8, 12, 2**32 + 7, 2**63 + 7])
def test_refused_prologues(tmp_path, value):
    forgery = scaled()
    forgery.prologue = {48: ("<Q", value)}
    judge(tmp_path, forgery)


def test_side_information_of_other_schemes(tmp_path):
    forgery = forged()
    forgery.side = bytes(7)
    judge(tmp_path, forgery)


def test_refused_weights(tmp_path):
    """Steps beyond binary32: infinite weights, and 0 times infinity; legal once patched."""
    for h, what in ((1, "infinite"), (0, "not a number")):
        forgery = scaled(step=1e38, h=h)
        forgery.side = bytes([255] * 7)
        judge(tmp_path, forgery, what=what)
    forgery = scaled(step=2.0**-126, h=3)
    forgery.side = bytes(7)
    weights = judge(tmp_path, forgery, legal=True, what="subnormal weights")
    assert (weights != 0).any() and (np.abs(weights) < 2.0**-126).all()
    patches = [(i, np.float32(1).tobytes()) for i in range(35)]
    forgery = scaled(step=1e38, h=0, patches=patches)
    forgery.side = bytes([255] * 7)
    assert (judge(tmp_path, forgery, legal=True, what="only patches") == 1).all()


@pytest.mark.parametrize("required", [[], ["scale-bytes"], ["scale_bytes", "x"], ["x"], ["scale_bytes", "scale_bytes"]], ids=str)
def test_refused_features(tmp_path, required):
    forge.write(tmp_path / "q", [scaled()])
    change_and_refuse(tmp_path, ingot_text(required_features=required))


def test_refused_feature_of_no_payload(tmp_path):
    forge.write(tmp_path / "q", [forged()])
    change_and_refuse(tmp_path, ingot_text(required_features=["scale_bytes"]))


def change_and_refuse(folder, change):
    checkpoint = reseal.Forged.read(folder / "q")
    change(checkpoint)
    checkpoint.write(folder / "c")
    with pytest.raises(decoder.Damaged):
        decoder.open_checkpoint(str(folder / "c"))
    done = ingot("verify", folder / "c", code=65)
    assert "features" in done.stderr + done.stdout


def test_unsealed_side_information(tmp_path):
    """A seal whose record of a payload ends with the chunk table."""
    forge.write(tmp_path / "q", [scaled()])
    checkpoint = reseal.Forged.read(tmp_path / "q")
    checkpoint.shard.entry("m").front -= 7
    checkpoint.write(tmp_path / "c")
    with pytest.raises(decoder.Damaged):
        decoder.open_checkpoint(str(tmp_path / "c"))
    ingot("verify", tmp_path / "c", code=65)
    checkpoint.shard.entry("m").front += 7
    checkpoint.write(tmp_path / "d")
    assert len(decoder.open_checkpoint(str(tmp_path / "d"))) == 1
    ingot("verify", tmp_path / "d")


def test_every_flipped_bit_of_side_information(tmp_path):
    """Without new hashes no changed scale byte passes."""
    forge.write(tmp_path / "q", [scaled("columns_rows")])
    path = tmp_path / "q/model.safetensors"
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    entry = json.loads(data[8 : 8 + length])["m"]["data_offsets"][0] + 8 + length
    table_end = decoder.open_checkpoint(str(tmp_path / "q"))["m"].table_end
    for at in range(entry + table_end, entry + table_end + 12):
        changed = bytearray(data)
        changed[at] ^= 1 << at % 8
        path.write_bytes(changed)
        with pytest.raises(decoder.Damaged):
            decoder.open_checkpoint(str(tmp_path / "q"))
        ingot("verify", tmp_path / "q", code=65)
