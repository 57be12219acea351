"""A real browser without a network, and pages made by the command with any report's JSON in them."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import fixtures
import pytest
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[2]
INGOT = Path(os.environ.get("INGOT", ROOT / ".build/release/ingot")).absolute()
SCREENSHOTS = Path(os.environ.get("SCREENSHOTS", ROOT / ".build-browser/screenshots"))
DATA_BLOCK = re.compile(r'(<script type="application/json" id="data">).*?(</script>)', re.DOTALL)


def ingot(*arguments) -> str:
    done = subprocess.run(
        [INGOT, *map(str, arguments)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class Pages:
    """Opens reports; on the way out, no page may have asked for anything or complained."""

    def __init__(self, browser, folder: Path):
        self.browser, self.folder, self.requests, self.complaints, self.contexts = browser, folder, [], [], []
        self.template = ingot("inspect", "SampleWeights/fp32/model.safetensors", "--format", "html")

    def write(self, report: dict, title: str = "a report") -> Path:
        """The command's page with another report in it, in the escapes that HTMLReport makes."""
        data = json.dumps(report)
        for mark in "<>&":
            data = data.replace(mark, f"\\u{ord(mark):04x}")
        text = DATA_BLOCK.sub(lambda found: found[1] + data + found[2], self.template, count=1)
        return self.keep(re.sub("<title>.*?</title>", lambda _: f"<title>{title}</title>", text, count=1))

    def keep(self, text: str) -> Path:
        path = self.folder / f"report-{len(self.contexts)}.html"
        path.write_text(text, encoding="utf-8")
        return path

    def open(self, report: dict | Path, width: int = 1280, scheme: str = "light"):
        path = report if isinstance(report, Path) else self.write(report)
        context = self.browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True, reduced_motion="reduce"
        )
        self.contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(path.as_uri())
        page.wait_for_selector("#tensors, #origin, main:empty", state="attached")
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        return page

    def close(self) -> None:
        for context in self.contexts:
            context.close()
        others = [url for url in self.requests if not url.startswith(self.folder.as_uri())]
        assert not others, "a report asked for something"
        assert len(self.requests) == len(self.contexts), "a report asked for more than itself"
        assert not self.complaints


@pytest.fixture(scope="session")
def browser():
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    assert path, "chromium is not installed: Tests/setup.sh browser"
    with sync_playwright() as playwright:
        # The sandbox needs rights that containers lack; the pages are our own.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def pages(browser, tmp_path):
    pages = Pages(browser, tmp_path)
    yield pages
    pages.close()


@pytest.fixture(scope="session")
def weights():
    return fixtures.sample_weights()


@pytest.fixture(scope="session")
def verification(weights):
    return fixtures.verification(weights)


@pytest.fixture(scope="session")
def inspection(weights):
    return fixtures.inspection(weights)
