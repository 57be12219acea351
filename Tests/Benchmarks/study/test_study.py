"""One row of the study, on SampleWeights: calibrated with code, at 3 bits. Needs INGOT, the command."""

import math
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import aqlm  # noqa: E402
import functional  # noqa: E402
import measures  # noqa: E402
import models  # noqa: E402
import study  # noqa: E402
import texts  # noqa: E402
from stages import Conversion, Stages  # noqa: E402

TOKENS = 2048  # of each held-out text
CALIBRATION_TOKENS = 8192


@pytest.fixture(scope="module")
def table_and_stages(tmp_path_factory):
    cache = tmp_path_factory.mktemp("study")
    ingot = Path(os.environ["INGOT"])
    model = models.Model("sample", "SampleWeights", texts.SAMPLE, texts.HELD_OUT, CALIBRATION_TOKENS)
    return study.Table(cache / "rows.jsonl", False), Stages(ingot, model, cache, TOKENS, "steps", None)


def test_a_calibrated_row_is_better_smaller_and_cached(table_and_stages):
    table, stages = table_and_stages
    plain, calibrated = (study.ours_row(table, stages, Conversion(2.5, calibration, "kept")) for calibration in ("none", "code"))
    for row in (plain, calibrated):
        assert row["linear_bits"] <= 2.5
        assert row["texts"]["code"]["sequences"] == TOKENS // 512
    for text in ("code", "prose"):
        assert calibrated["texts"][text]["kl"]["value"] < 0.8 * plain["texts"][text]["kl"]["value"]
    # A second study finds the rows, and runs nothing.
    again = study.Table(stages.cache / "rows.jsonl", False)
    nothing = Stages(stages.ingot, stages.model, stages.cache, TOKENS, "steps", None)
    nothing.convert = nothing.evaluate = None
    assert study.ours_row(again, nothing, Conversion(2.5, "code", "kept")) == calibrated


def test_calibration_texts_share_no_file_with_held_out_texts(table_and_stages):
    import json

    _, stages = table_and_stages
    (text,) = stages.texts("code")
    record = json.loads(text.with_suffix(".json").read_text())
    assert record["files"] and not set(record["files"]) & texts.held_out_files()
    assert record["of_them_in_this_text"] <= 0.01 * record["long_lines_of_held_out_text"]
    assert CALIBRATION_TOKENS <= texts.tokens_of(stages.ingot, stages.model.path, text.read_text(), stages.cache) < CALIBRATION_TOKENS + 64


def test_a_line_that_was_cut_off_is_no_row(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"key": "a", "model": "sample"}\n{"key": "b", "mo')
    assert list(study.read_rows(path)) == ["a"]


def test_intervals_against_tables():
    # Student's t: the two-sided 5 % points of 9, 15 and 39 degrees of freedom.
    assert [round(measures.t_quantile(freedom), 3) for freedom in (9, 15, 39)] == [2.262, 2.131, 2.023]
    assert math.isclose(measures.t_tail(2.262157, 9), 0.05, rel_tol=1e-5)
    low, high = measures.wilson(8, 10)
    assert (round(low, 4), round(high, 4)) == (0.4902, 0.9433)
    found = measures.difference([1.0, 2.0, 4.0], [0.0, 0.0, 0.0])
    assert math.isclose(found.value, 7 / 3) and math.isclose(found.error, math.sqrt(7 / 9))


def test_aqlm_rates_are_those_published():
    for setting in aqlm.SETTINGS:
        assert abs(aqlm.nominal_bits(aqlm.CODELLAMA_7B, setting) - setting.rate) < 0.005


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        ("    return x\n\ndef other(", True),
        ("    if x:\n        y =", False),  # its only line opens a block that has nothing in it
        ("    x += 1\n    if x:\n        y =", True),
        ("    return )\n    x\n    y\n    z\n    w\n", False),
        ("\nclass A:\n", True),
        ("     bad\n   indentation\n", False),
    ],
)
def test_what_parses(completion, expected):
    prompt = "def f(a):\n    x = 1\n    y = 2\n    z = 3\n"
    assert functional.parses(prompt, completion) is expected


def test_prompts_are_from_held_out_code():
    found = functional.prompts(texts.HELD_OUT["code"], 1000)
    assert len(found) >= 64 and all(functional.parses(prompt, "") for prompt in found)
