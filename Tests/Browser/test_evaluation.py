"""The page of an evaluation: its figures, its chart, and hostile data."""

import copy
import json

import pytest
from conftest import ingot

TEXTS = ("SampleWeights/heldout-code.txt", "SampleWeights/heldout-prose.txt")
OPTIONS = [option for text in TEXTS for option in ("--text", text)] + ["--tokens", 1024, "--context", 128]


@pytest.fixture(scope="session")
def sealed(tmp_path_factory):
    path = tmp_path_factory.mktemp("evaluation") / "sealed"
    ingot("convert", "SampleWeights", path, "--bits", 3, "-q")
    return path


@pytest.fixture(scope="session")
def report(sealed):
    return json.loads(ingot("evaluate", sealed, "--against", "SampleWeights", *OPTIONS, "--format", "json"))


def cells(page, row):
    return [text.replace("\u2009", "") for text in page.locator(f"#texts tbody tr >> nth={row} >> css=th, td").all_inner_texts()]


def test_the_command_writes_the_page(pages, sealed, report):
    page = pages.open(pages.keep(ingot("evaluate", sealed, "--against", "SampleWeights", *OPTIONS, "--format", "html")))
    assert page.locator("#verdict").inner_text() == "evaluated"
    assert page.locator("#texts tbody tr").count() == 3
    for row, entry in enumerate(report["texts"] + [report["all"]]):
        text = page.locator("#texts tbody tr").nth(row).inner_text()
        for member, digits, factor in (
                ("perplexity", 4, 1), ("reference_perplexity", 4, 1), ("perplexity_ratio", 5, 1), ("kl", 6, 1), ("top1", 2, 100)):
            found = entry[member]
            assert f"{found['value'] * factor:.{digits}f} ± {found['standard_error'] * factor:.{digits}f}" in text
    origin = page.locator("#origin").inner_text()
    for hash in (report["model"]["weights_xxh3_128"], report["reference"]["weights_xxh3_128"], report["tokenizer_xxh3_128"],
                 *(text["text_xxh3_128"] for text in report["texts"])):
        assert hash in origin


def test_sequences(pages, report):
    page = pages.open(report)
    for index, values in enumerate((
            lambda entry: entry["per_sequence"]["kl"], lambda entry: entry["per_sequence"]["loss"],
            lambda entry: [a - b for a, b in zip(entry["per_sequence"]["loss"], entry["per_sequence"]["reference_loss"])],
            lambda entry: entry["per_sequence"]["top1"])):
        page.locator("#sequences select").select_option(str(index))
        shown = page.locator("#sequence-chart circle").evaluate_all("nodes => nodes.map((node) => Number(node.dataset.value))")
        expected = [value for entry in report["texts"] for value in values(entry)]
        assert shown == pytest.approx(expected, abs=1e-12) and len(shown) == 16


def test_without_a_reference(pages, report):
    report = copy.deepcopy(report)
    report["reference"] = None
    for entry in report["texts"] + [report["all"]]:
        for member in ("reference_perplexity", "perplexity_ratio", "kl", "kl_p99", "kl_p999", "top1"):
            entry[member] = None
        entry.get("per_sequence", {}).pop("kl", None)
        for member in ("reference_loss", "top1"):
            entry.get("per_sequence", {}).pop(member, None)
    page = pages.open(report)
    assert "No reference was given." in page.locator("header.page-head").inner_text()
    assert page.locator("#texts thead th").all_inner_texts() == ["text", "sequences", "tokens", "perplexity"]
    assert page.locator("#sequence-chart circle").count() == 16 and page.locator("#sequences select").count() == 0


def test_hostile(pages, report):
    harm = "</script><img src=x onerror=alert(1)>\u202e\u2028" + "w" * 3000
    report = copy.deepcopy(report)
    report["model"]["path"] = report["model"]["format"] = report["model"]["weights_xxh3_128"] = harm
    report["reference"]["path"] = report["tokenizer_xxh3_128"] = harm
    for entry in report["texts"]:
        entry["name"] = entry["text_xxh3_128"] = harm
    page = pages.open(report, width=500)
    assert page.locator("img").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 500
    # Members that are missing or of other types leave the page standing.
    for change in (
            {"texts": None, "all": None}, {"texts": [None, 3, {"per_sequence": {"kl": "x", "loss": [None, "1", 1e308]}}]},
            {"model": "x", "reference": 3, "context": "y"}):
        page = pages.open(report | change)
        assert page.locator("#origin").count() == 1
