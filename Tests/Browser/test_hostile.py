"""Names and texts of a stranger's files in the report: shown, and nothing else."""

import json

import fixtures
import numpy as np
import pytest
from conftest import ingot
from safetensors.numpy import save_file

ELEMENTS = {"IMG", "IFRAME", "OBJECT", "EMBED", "LINK", "BASE", "FORM"}


def assert_harmless(page):
    assert page.evaluate("window.broken") is None
    found = page.evaluate("[...document.querySelectorAll('*')].map((node) => node.tagName.toUpperCase())")
    assert not ELEMENTS & set(found)
    assert found.count("SCRIPT") == 3, "the data, the peers' points and the program"
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    handlers = "[...document.querySelectorAll('*')].flatMap((n) => [...n.attributes].map((a) => a.name)).filter((name) => name.startsWith('on'))"
    assert page.evaluate(handlers) == []


def test_hostile_texts_everywhere(pages):
    report = fixtures.hostile()
    page = pages.open(report)
    assert_harmless(page)
    shown = page.locator("#tensor-table tbody th").all_inner_texts()
    assert len(shown) == len(fixtures.HOSTILE_NAMES)
    assert fixtures.HOSTILE_NAMES[0] in shown
    assert "right-to-left \\u{202e} gnp.thgiew" in shown
    assert "\\u{2028}separators\\u{2029}" in shown
    assert "(no name)" in shown
    assert "__proto__" in shown and "constructor" in shown
    for index in range(len(report["tensors"])):
        page.locator("#tensor-table tbody th button").nth(index).click()
        assert_harmless(page)
    for button in page.locator("th[aria-sort] button").all():
        button.click()
    for name in fixtures.HOSTILE_NAMES:
        page.fill("#tensor-filter", name[:500].replace("\u2028", " "))
        assert_harmless(page)


def test_the_command_writes_hostile_names_safely(pages, tmp_path):
    """A real file of such names through the command itself, its title and its data block."""
    # The reader refuses NUL, and names of more than 1,024 bytes.
    usable = [name.replace("\x00", "")[:1000] for name in fixtures.HOSTILE_NAMES if name]
    folder = tmp_path / "<b>&'\" {{script}} models"
    folder.mkdir()
    path = folder / "model.safetensors"
    save_file({name: np.ones((4, 64), np.float16) for name in usable}, path)
    text = ingot("inspect", path, "--format", "html")
    assert text.lower().count("</script") == 3 and "<!--" not in text.split("<script>")[0].split("<body>")[1]
    assert "\u2028" not in text and "\u2029" not in text
    page = pages.open(pages.keep(text))
    assert_harmless(page)
    assert "<b>&'\" {{script}} models" in page.inner_text("h1")
    data = json.loads(page.evaluate("document.getElementById('data').textContent"))
    assert sorted(tensor["name"] for tensor in data["tensors"]) == sorted(usable)
    assert page.locator("#tensor-table tbody tr").count() == len(usable)


def test_the_page_may_load_nothing(pages, verification):
    """What the page's own policy forbids, tried from inside."""
    path = pages.write(verification)
    page = pages.open(path)
    blocked = page.evaluate(
        """() => new Promise((done) => {
            const blocked = [];
            document.addEventListener("securitypolicyviolation", (event) => {
                blocked.push(event.effectiveDirective);
                if (blocked.length === 2) done(blocked);
            });
            fetch("https://example.invalid/").catch(() => {});
            document.body.append(Object.assign(new Image(), { src: "https://example.invalid/image.png" }));
        })"""
    )
    assert sorted(blocked) == ["connect-src", "img-src"]
    pages.complaints.clear()
    pages.requests.remove("https://example.invalid/image.png")  # which the browser's own record holds, blocked


@pytest.mark.parametrize("against", [True, False])
def test_real_reports(pages, tmp_path, against):
    """What the command says today, end to end."""
    dest = tmp_path / "sample"
    ingot("convert", "SampleWeights", dest, "--bits", "4", "--quiet")
    arguments = ["verify", dest, *(["--against", "SampleWeights"] if against else [])]
    report = json.loads(ingot(*arguments, "--format", "json"))
    page = pages.open(pages.keep(ingot(*arguments, "--format", "html")))
    assert page.inner_text("#verdict") == "PASS"
    worst = max(report["tensors"], key=lambda row: (row["measured"] or row["certificate"])["relative_mse"])
    assert worst["name"] in page.inner_text("#figure-worst")
    assert page.locator("#tensor-table tbody tr").count() == len(report["tensors"])
    page = pages.open(pages.keep(ingot("inspect", dest, "--format", "html")))
    account = json.loads(ingot("inspect", dest, "--format", "json"))["bytes"]
    segments = page.eval_on_selector_all("#account .segment", "(all) => all.map((node) => Number(node.dataset.bytes))")
    assert sum(segments) == account["total"] == sum(path.stat().st_size for path in dest.glob("*.safetensors"))
