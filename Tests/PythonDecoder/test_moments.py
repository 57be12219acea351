"""Files of moments and importance matrices that Ingot wrote, read once more; and files written here, shown by `ingot inspect`."""

import json
from pathlib import Path

import moments
import numpy as np
import pytest
from test_decoder import ingot

FIXTURES = Path(__file__).parent / "fixtures"


def inspect(path, *options, code=0):
    done = ingot("inspect", path, "--format", "json", *options, code=code)
    return json.loads(done.stdout) if code == 0 else done.stderr


def check_rows(report, inputs):
    assert [row["input"] for row in report["inputs"]] == list(inputs)
    for row, one in zip(report["inputs"], inputs.values()):
        alive = one.diagonal[one.diagonal > 0]
        assert row["columns"] == one.columns and row["dead_columns"] == one.columns - alive.size
        assert row["tokens"] == int(one.tokens.sum())
        assert row["tokens_per_column"] == pytest.approx(one.tokens.sum() / one.columns)
        if alive.size:
            assert row["diagonal_ratio"] == pytest.approx(alive.max() / alive.min(), rel=1e-9)
        else:
            assert row["diagonal_ratio"] is None
        if len(one.tokens) == 2 and one.weights.all():
            a, b = one.diagonals.astype(np.float64)
            both = (a > 0) & (b > 0)
            assert row["halves_disagreement"] == pytest.approx(np.median(abs(np.log2(a[both] / b[both]))), abs=1e-9)
        else:
            assert row["halves_disagreement"] is None


def test_file_of_ingot():
    metadata, inputs, gradients = moments.read(FIXTURES / "moments.safetensors")
    assert not gradients and "gradients" not in metadata
    assert metadata["family"] == "llama" and metadata["blocks"] == "blocks:4"
    texts = json.loads(metadata["texts"])
    assert [text["weight"] for text in texts] == [2, 1]
    for name, one in inputs.items():
        assert [block.shape[0] for block in one.blocks] == moments.widths("blocks:4", one.columns)
        assert one.shrinkage in [0, 0.05, 0.1, 0.2, 0.3, 0.5, 1]
        for block in one.blocks:
            assert np.linalg.eigvalsh(block.astype(np.float64)).min() > -1e-5
        if "experts.1" in name:
            assert not one.weights.any() and one.shrinkage == 0.2
    report = inspect(FIXTURES / "moments.safetensors")
    assert report["schema"] == "ingot.moments" and report["texts"][1]["name"] == texts[1]["name"]
    check_rows(report, inputs)
    assert len(report["warnings"]) == 3


@pytest.mark.parametrize("rule", ["usual", "diagonal", "blocks:7", "full"])
def test_file_of_numpy(tmp_path, rule):
    generator = np.random.default_rng(5)
    inputs = {}
    for name, columns in [("layers.10.attention_in", 40), ("layers.2.experts.11.down_in", 13), ("head_in", 40)]:
        x = generator.normal(size=(2, 500, columns)) * np.exp(generator.normal(size=columns))
        x[:, :, 3] = 0
        diagonals = (x**2).mean(1).astype(np.float32)
        full = np.einsum("hti,htj->ij", x, x) / 1000
        np.fill_diagonal(full, diagonals.astype(np.float64).mean(0))
        inputs[name] = ([500, 500], [500, 500], 0.1, diagonals, full)
    moments.write(tmp_path / "m.safetensors", inputs, rule)
    read = moments.read(tmp_path / "m.safetensors")[1]
    report = inspect(tmp_path / "m.safetensors")
    check_rows(report, read)
    widths = {row["input"]: row["block_columns"] for row in report["inputs"]}
    assert widths["head_in"] == moments.widths(rule, 40)[0]
    assert all(row["shrinkage"] == (None if rule == "diagonal" else 0.1) for row in report["inputs"])


def check_gradients(report, metadata, gradients, sensitivities):
    found = report["gradients"]
    assert found["tokens"] == int(metadata["gradient_tokens"]) and found["row_order"] == metadata["gradient_rows"]
    assert found["vocabulary"] == gradients["embedding"].size and found["tokens_seen"] == (gradients["embedding"] > 0).sum()
    kinds = {}
    for name, values in gradients.items():
        if name != "embedding":
            kinds.setdefault(name.split(".")[-1], []).append(values)
    assert {row["kind"] for row in found["kinds"]} == set(kinds)
    for row in found["kinds"]:
        values = np.concatenate(kinds[row["kind"]]).astype(np.float64)
        assert row["matrices"] == len(kinds[row["kind"]]) and row["rows"] == values.size
        assert row["mean_square"] == pytest.approx(values.mean(), rel=1e-9)
        own = [(sensitivities[name], values.size) for name, values in gradients.items() if name.split(".")[-1] == row["kind"]]
        assert row["sensitivity"] == pytest.approx(sum(s * n for s, n in own) / values.size, rel=1e-9)


def test_gradients_of_ingot():
    """The file has the inputs of the file without gradients, and the gradients behind them."""
    metadata, inputs, gradients = moments.read(FIXTURES / "gradients.safetensors")
    plain, without = FIXTURES / "moments.safetensors", FIXTURES / "gradients.safetensors"
    data = [raw[8 + int.from_bytes(raw[:8], "little"):] for raw in (plain.read_bytes(), without.read_bytes())]
    assert data[1].startswith(data[0]) and len(data[1]) - len(data[0]) == sum(
        v.nbytes + (0 if name == "embedding" else 8) for name, v in gradients.items())
    assert metadata["gradient_tokens"] == "32" and metadata["gradient_rows"] == "neighbours"
    assert gradients["layers.0.attn_q"].shape == (4,) and gradients["layers.1.experts.0.ffn_down"].shape == (6,)
    assert not gradients["layers.1.experts.1.ffn_up"].any() and gradients["embedding"].tolist() == [0, 1, 2, 3] * 5
    report = inspect(FIXTURES / "gradients.safetensors")
    check_rows(report, inputs)
    sensitivities = moments.sensitivities(FIXTURES / "gradients.safetensors")
    assert sensitivities["layers.0.attn_q"] == gradients["layers.0.attn_q"].sum() / 16
    check_gradients(report, metadata, gradients, sensitivities)
    assert inspect(FIXTURES / "moments.safetensors")["gradients"] is None


def test_gradients_of_numpy(tmp_path):
    path = tmp_path / "m.safetensors"
    inputs = {"head_in": ([50, 50], [50, 50], 0.1, np.ones((2, 3), np.float32), np.eye(3, dtype=np.float32))}
    gradients = {"layers.0.attn_qkv": [1, 2, 3.5], "layers.0.experts.3.ffn_gate_up": [4, 5], "head": [0, 0.25],
                 "embedding": [7, 0]}
    words = dict(gradients="fisher", gradient_tokens="64", gradient_rows="halves")

    def write(change={}, words=words, sensitivities={"layers.0.attn_qkv": 0.5, "head": 3.25}):
        found = {name: values for name, values in (gradients | change).items() if values is not None}
        moments.write(path, inputs, **{key: value for key, value in words.items() if key != "gradients"},
                      gradients=found, sensitivities=sensitivities)
        if "gradients" in words:
            raw = path.read_bytes()
            length = int.from_bytes(raw[:8], "little")
            header = json.loads(raw[8 : 8 + length])
            header["__metadata__"]["gradients"] = words["gradients"]
            text = json.dumps(header).encode()
            path.write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + length:])

    write()
    metadata, _, found = moments.read(path)
    check_gradients(inspect(path), metadata, found, moments.sensitivities(path))
    write(dict.fromkeys(gradients), {"gradients": "none"})
    assert inspect(path)["gradients"] is None
    for change, words_now in [({"head": [-1, 0]}, words), ({"embedding": [float("nan"), 0]}, words), ({"embedding": None}, words),
                              ({}, {}), ({}, words | {"gradients": "none"}), ({}, words | {"gradients": "other"}),
                              ({}, words | {"gradient_tokens": "0"}), ({}, words | {"gradient_rows": ""}),
                              (dict.fromkeys(gradients), words)]:
        write(change, words_now)
        assert "momentsInvalid" in inspect(path, code=65)
    for wrong in [-1.0, float("nan"), float("inf"), None, [1.0, 2.0]]:
        write(sensitivities={"head": wrong})
        assert "head.sensitivity" in inspect(path, code=65)
    write({"head": None}, sensitivities={})
    inspect(path)
    raw = path.read_bytes().replace(b'"layers.0.attn_qkv.sensitivity"', b'"layers.0.attn_out.sensitivity"')
    path.write_bytes(raw)
    assert "momentsInvalid" in inspect(path, code=65)


def test_wide_input(tmp_path):
    """The usual rule beyond 4096 columns."""
    columns = 4100
    diagonals = np.full((2, columns), 2, np.float32)
    inputs = {"layers.0.down_in": ([50_000, 1], [50_000, 1], 0.5, diagonals, np.eye(columns, dtype=np.float32) * 2)}
    moments.write(tmp_path / "m.safetensors", inputs)
    assert [b.shape[0] for b in moments.read(tmp_path / "m.safetensors")[1]["layers.0.down_in"].blocks] == [2048, 2048, 4]
    report = inspect(tmp_path / "m.safetensors")
    assert report["inputs"][0]["block_columns"] == 2048 and report["warnings"] == []


def test_damage(tmp_path):
    path = tmp_path / "m.safetensors"
    raw = bytearray((FIXTURES / "moments.safetensors").read_bytes())
    raw[-1] = 0xFF
    raw[-2] = 0xFF
    path.write_bytes(raw)
    assert "momentsInvalid" in inspect(path, code=65)
    # Without the moments themselves nothing is wrong.
    inspect(path, "--headers-only")
    path.write_bytes(bytes(raw).replace(b'"blocks":"blocks:4"', b'"blocks":"blocks:5"'))
    assert "momentsInvalid" in inspect(path, code=65)


def test_imatrix():
    _, inputs, _ = moments.read(FIXTURES / "moments.safetensors")
    metadata, matrices = moments.imatrix_gguf(FIXTURES / "imatrix.gguf")
    assert metadata["general.type"] == "imatrix" and metadata["imatrix.chunk_size"] == 16
    older, chunks, dataset = moments.imatrix_binary(FIXTURES / "imatrix.dat")
    assert chunks == metadata["imatrix.chunk_count"] and dataset == metadata["imatrix.datasets"][-1]
    assert list(matrices) == sorted(matrices) and list(older) == [n for n in matrices if matrices[n][1].any()]
    reads = {"attn_q": "attention_in", "attn_v": "attention_in", "attn_output": "output_in", "ffn_up": "feed_forward_in",
             "ffn_gate_inp": "feed_forward_in", "ffn_down": "down_in"}
    for name, (sums, counts) in matrices.items():
        words = name.split(".")
        if words[1] in ("0", "1") and words[2] in reads:
            one = inputs[f"layers.{words[1]}.{reads[words[2]]}"]
            assert counts.ravel() == [one.tokens.sum()]
            assert np.allclose(sums.ravel(), one.diagonal * counts[0], rtol=1e-6)
            calls, values = older[name]
            assert calls == -(-int(counts.ravel()[0]) // 16) and np.allclose(values, one.diagonal * calls, rtol=1e-6)
    sums, counts = matrices["blk.1.ffn_down_exps.weight"]
    assert sums.shape == (2, 5) and counts.ravel().tolist() == [61, 0] and not sums[1].any()
    for path in [FIXTURES / "imatrix.gguf", FIXTURES / "imatrix.dat"]:
        report = inspect(path)
        assert [row["input"] for row in report["inputs"]] == list(inputs)
        for row, one in zip(report["inputs"], inputs.values()):
            if one.tokens.any():
                alive = one.diagonal[one.diagonal > 0]
                assert row["diagonal_ratio"] == pytest.approx(alive.max() / alive.min(), rel=1e-5)
            assert row["tokens"] == (int(one.tokens.sum()) if path.suffix == ".gguf" else None)
