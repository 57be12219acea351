"""The HTML report in a real browser: what it shows is what the JSON says."""

import copy
import math

import pytest
from conftest import SCREENSHOTS


def texts(page, selector: str) -> list[str]:
    return page.locator(selector).all_inner_texts()


def numbers(page, selector: str, attribute: str) -> list[float]:
    return page.eval_on_selector_all(selector, f"(all) => all.map((node) => Number(node.getAttribute('{attribute}')))")


def names(page) -> list[str]:
    return texts(page, "#tensor-table tbody th")


def scientific(value: float) -> str:
    return "0" if value == 0 else f"{value:.2e}"


def test_figures_and_verdict(pages, verification):
    page = pages.open(verification)
    assert page.inner_text("#verdict") == "PASS"
    assert f"{100 * verification['reduction']:.1f} %" in page.inner_text("#figure-reduction")
    assert f"{verification['bits_per_weight']:.2f}" in page.inner_text("#figure-bits")
    worst = max(verification["tensors"], key=lambda row: row["measured"]["relative_mse"])
    assert scientific(worst["measured"]["relative_mse"]) in page.inner_text("#figure-worst")
    assert worst["name"] in page.inner_text("#figure-worst")
    noise = signal = 0
    for row in verification["tensors"]:
        if row["scheme"] != "kept":
            before = row["source_statistics"]
            energy = before["count"] * (before["std"] ** 2 + before["mean"] ** 2)
            noise, signal = noise + energy * row["measured"]["relative_mse"], signal + energy
    assert scientific(noise / signal) in page.inner_text("#figure-error")
    for section in ("size", "errors", "rate", "distribution", "statistics", "tensors"):
        assert page.locator(f"#{section}").count() == 1
    assert page.locator("#failures, #claims, #warnings").count() == 0


def test_table_has_every_tensor(pages, verification):
    page = pages.open(verification)
    rows = verification["tensors"]
    by_error = sorted(rows, key=lambda row: -row["measured"]["relative_mse"] if row["scheme"] != "kept" else 1)
    assert names(page) == [row["name"] for row in by_error]
    page.get_by_role("button", name="All columns").click()
    head = page.eval_on_selector_all("#tensor-table thead th", "(all) => all.map((node) => node.dataset.column)")
    cells = dict(zip(head, texts(page, "#tensor-table tbody tr:first-child > *")))
    worst = by_error[0]
    assert cells["relative_mse"] == scientific(worst["measured"]["relative_mse"])
    assert cells["snr_db"] == f"{worst['measured']['snr_db']:.1f}"
    assert cells["kurtosis"] == f"{worst['statistics']['kurtosis']:.2f}"
    assert cells["changed"].replace("\u2009", "") == str(worst["measured"]["changed"])
    assert cells["kind"].strip() == worst["role"]["kind"]
    assert {
        "error_p999",
        "cosine",
        "sign_flips",
        "zeroed",
        "certificate_mse",
        "std",
        "outliers_6_sigma",
        "row_spread",
    } <= set(head)
    assert "code_entropy_bits" not in head, "a column without a value"


KEYS = {
    "name": lambda row: row["name"],
    "layer": lambda row: row["role"]["layer"],
    "elements": lambda row: row["elements"],
    "source_bytes": lambda row: row["source_bytes"],
    "bytes": lambda row: row["bytes"],
    "bits": lambda row: row["bits_per_weight"],
    "scheme": lambda row: row["scheme"],
}
KEYS |= {
    member: lambda row, member=member: row["measured"][member] if row["scheme"] != "kept" else None
    for member in ("relative_mse", "snr_db", "max_error", "error_p999", "cosine", "changed", "sign_flips", "zeroed")
}
KEYS |= {
    member: lambda row, member=member: row["statistics"][member]
    for member in (
        "min",
        "max",
        "mean",
        "std",
        "absmax",
        "kurtosis",
        "zeros",
        "subnormal",
        "outliers_6_sigma",
        "nan",
        "infinite",
    )
    + ("value_entropy_bits",)
}


def test_sorting_by_every_column(pages, verification):
    page = pages.open(verification)
    page.get_by_role("button", name="All columns").click()
    by_name = {row["name"]: row for row in verification["tensors"]}
    for column, key in KEYS.items():
        header = page.locator(f"th[data-column={column}]")
        seen = set()
        for _ in range(2):
            header.locator("button").press("Enter")
            direction = header.get_attribute("aria-sort")
            seen.add(direction)
            shown = [key(by_name[name]) for name in names(page)]
            present = [value for value in shown if value is not None]
            assert shown[: len(present)] == present, f"{column}: what has no value stays last"
            assert len(shown) == len(by_name)
            order = zip(present, present[1:])
            holds = all(a >= b if direction == "descending" else a <= b for a, b in order) if column != "name" else True
            assert holds, f"{column} {direction}"
            if column == "name":
                natural = sorted(present, reverse=direction == "descending")
                assert shown == natural
            assert page.locator("th[aria-sort=ascending], th[aria-sort=descending]").count() == 1
        assert seen == {"ascending", "descending"}


def test_filter_by_name_layer_and_kind(pages, verification):
    page = pages.open(verification)
    rows = verification["tensors"]
    page.fill("#tensor-filter", "*.2.*q_proj.weight")
    assert names(page) == ["model.layers.2.self_attn.q_proj.weight"]
    page.fill("#tensor-filter", "MLP")
    assert sorted(names(page)) == sorted(row["name"] for row in rows if "mlp" in row["name"])
    page.fill("#tensor-filter", "(((")
    assert names(page) == [] and page.inner_text("#tensor-count") == "no tensor matches"
    page.fill("#tensor-filter", "")
    page.get_by_label("Kind", exact=True).select_option(label="attn_k")
    assert sorted(names(page)) == sorted(row["name"] for row in rows if row["role"]["kind"] == "attn_k")
    page.get_by_label("Layer", exact=True).select_option(label="layer 1")
    assert names(page) == ["model.layers.1.self_attn.k_proj.weight"]


def test_treemap_areas_are_bytes(pages, verification):
    page = pages.open(verification)
    ratios = []
    for drawing, member in (("before", "source_bytes"), ("after", "bytes")):
        cells = f"#map-{drawing} .cell"
        sizes = numbers(page, cells, "data-bytes")
        areas = [a * b for a, b in zip(numbers(page, cells, "width"), numbers(page, cells, "height"))]
        assert sum(sizes) == sum(row[member] for row in verification["tensors"])
        assert len(sizes) == len({(row["role"]["layer"], row["role"]["kind"]) for row in verification["tensors"]})
        ratios += [area / size for area, size in zip(areas, sizes)]
        inside = page.eval_on_selector_all(
            cells,
            "(all) => all.every((n) => n.x.baseVal.value >= -0.01 && n.x.baseVal.value + n.width.baseVal.value"
            " <= n.ownerSVGElement.viewBox.baseVal.width + 0.01)",
        )
        assert inside
    assert max(ratios) / min(ratios) < 1.001, "one scale for both maps"


def test_size_bars(pages, verification):
    page = pages.open(verification)
    page.get_by_role("button", name="Bars by kind").click()
    sizes = numbers(page, "#size-chart .bar:not(.faint)", "data-value")
    assert sum(sizes) == sum(row["bytes"] for row in verification["tensors"])
    widths = page.eval_on_selector_all(
        "#size-chart .bar:not(.faint)", "(all) => all.map((n) => n.getBoundingClientRect().width)"
    )
    largest = sizes.index(max(sizes))
    for size, width in zip(sizes, widths):
        assert abs(width - widths[largest] * size / sizes[largest]) < 1.1
    page.get_by_role("button", name="Bars by layer").click()
    assert texts(page, "#size-chart .bar-label") == ["outside of layers", *(f"layer {layer}" for layer in range(4))]


def test_error_map(pages, verification):
    page = pages.open(verification)
    encoded = [row for row in verification["tensors"] if row["scheme"] != "kept"]
    shown = sorted(numbers(page, "#errors-map .heat-cell", "data-value"))
    expected = sorted(row["measured"]["relative_mse"] for row in encoded)
    assert shown == pytest.approx(expected)
    page.locator("#errors select").select_option(label="maximum error")
    shown = sorted(numbers(page, "#errors-map .heat-cell", "data-value"))
    assert shown == sorted(row["measured"]["max_error"] for row in encoded)
    assert len(texts(page, "#errors-bars .bar-label")) == len({row["role"]["kind"] for row in encoded})
    worst = max(encoded, key=lambda row: row["measured"]["max_error"])
    page.locator("#errors-map .heat-cell").nth(0).focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#note").is_visible()
    page.locator(f"#errors-map .heat-cell[data-value='{worst['measured']['max_error']}']").first.click()
    assert page.inner_text("#distribution-name") == worst["name"]


def test_histograms(pages, verification):
    page = pages.open(verification)
    by_name = {row["name"]: row for row in verification["tensors"]}
    worst = max(verification["tensors"], key=lambda row: row["measured"]["relative_mse"])
    chosen = worst["name"]
    for _ in range(2):
        assert page.inner_text("#distribution-name") == chosen
        histograms = by_name[chosen]["histograms"]
        assert numbers(page, "#histogram .original", "data-count") == histograms["source"]
        assert page.get_attribute("#histogram .restored", "data-counts") == " ".join(map(str, histograms["restored"]))
        heights = numbers(page, "#histogram .original", "height")
        top = max(range(64), key=lambda bin: histograms["source"][bin])
        for count, height in zip(histograms["source"], heights):
            assert height == pytest.approx(heights[top] * count / histograms["source"][top], abs=0.01)
        chosen = "model.layers.3.mlp.up_proj.weight"
        page.get_by_role("button", name=chosen, exact=True).click()
    page.locator("#distribution").get_by_role("button", name="Log").click()
    log_heights = numbers(page, "#histogram .original", "height")
    counts = by_name[chosen]["histograms"]["source"]
    few, many = counts.index(min(c for c in counts if c > 0)), counts.index(max(counts))
    assert log_heights[few] / log_heights[many] > counts[few] / counts[many]
    figures = page.inner_text("#distribution-figures") + page.inner_text("#distribution-errors")
    assert f"{by_name[chosen]['source_statistics']['kurtosis']:.2f}" in figures
    assert scientific(by_name[chosen]["measured"]["error_p999"]) in figures


def test_rate_against_error(pages, verification):
    page = pages.open(verification)
    encoded = [row for row in verification["tensors"] if row["scheme"] != "kept"]
    assert page.locator("#rate-chart .own").count() == len(encoded) + 1, "and one in the legend"
    peers = page.evaluate("JSON.parse(document.getElementById('peers').textContent)")
    formats = peers["sets"][0]["formats"]
    shown = page.eval_on_selector_all(
        "#rate-chart .drawing .peer", "(all) => all.map((node) => node.getAttribute('aria-label'))"
    )
    assert len(shown) == len(formats) == 25
    for row, label in zip(formats, shown):
        name, bits, error = label.split(", ")[:3]
        assert name == f"{row['family']} {row['type']}"
        assert float(bits.removeprefix("bits per weight ")) == pytest.approx(row["bits_per_weight"], abs=0.00051)
        assert float(error.removeprefix("relative MSE ")) == pytest.approx(row["relative_mse"], rel=0.006)
    # D = 2^(-2R) is a straight line on a logarithmic axis: 6.02 dB a bit, in the scale of the marks.
    ends = [
        tuple(map(float, point.split(",")))
        for point in page.get_attribute("#rate-chart .drawing .bound", "points").split()
    ]
    own = page.eval_on_selector_all(
        "#rate-chart .drawing .own", "(all) => all.map((n) => [n.cx.baseVal.value, n.cy.baseVal.value])"
    )
    labels = page.eval_on_selector_all(
        "#rate-chart .drawing .own", "(all) => all.map((node) => node.getAttribute('aria-label'))"
    )
    points = {
        tuple(place): row for place, label in zip(own, labels) for row in encoded if label.startswith(row["name"] + ",")
    }
    assert len(points) >= 2
    (xa, ya), (xb, yb) = min(points), max(points)
    a, b = points[xa, ya], points[xb, yb]
    per_bit = (xb - xa) / (b["bits_per_weight"] - a["bits_per_weight"])
    per_decade = (ya - yb) / (math.log10(b["measured"]["relative_mse"]) - math.log10(a["measured"]["relative_mse"]))
    slope = (ends[1][1] - ends[0][1]) / (ends[1][0] - ends[0][0])
    assert slope == pytest.approx(2 * math.log10(2) * per_decade / per_bit, rel=0.01)
    page.locator("#rate").get_by_role("button", name="This checkpoint").click()
    assert page.locator("#rate-chart .drawing .own").count() == len(encoded)
    assert page.locator("#rate-chart .drawing .peer").count() < 25
    page.locator("#rate select").select_option(index=1)
    assert peers["sets"][1]["title"] in page.inner_text("#rate-chart .legend")


def test_light_and_dark(pages, verification):
    def background(page):
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    light, dark = pages.open(verification, scheme="light"), pages.open(verification, scheme="dark")
    colours = background(light), background(dark)
    assert colours[0] != colours[1]
    for page, other in ((light, "Dark"), (dark, "Light")):
        before = background(page)
        bars = page.locator("#map-after .cell").first.evaluate("(node) => getComputedStyle(node).fill")
        page.get_by_role("button", name=other, exact=True).click()
        assert background(page) in colours and background(page) != before
        assert page.locator("#map-after .cell").first.evaluate("(node) => getComputedStyle(node).fill") != bars
        page.get_by_role("button", name="Auto", exact=True).click()
        assert background(page) == before


def test_failures_come_first(pages, verification):
    report = copy.deepcopy(verification)
    report["holds"] = False
    report["failures"] = [
        {"code": "certificate-mismatch", "tensor": "lm_head.weight", "found": "an error that is not the certificate's"}
    ]
    report["warnings"] = ["the source has a file that is no checkpoint's"]
    report["claims"] = [
        {"claim": "max_total_bytes", "pattern": None, "level": "error", "status": "pass", "limit": 5000000,
         "measured": 2900000, "basis": "file", "offender": None, "message": "holds"},
        {"claim": "min_snr_db", "pattern": None, "level": "warn", "status": "fail", "limit": 30.5, "measured": 21.1,
         "basis": "source", "offender": "lm_head.weight", "message": "noisy"},
        {"claim": "max_relative_mse", "pattern": "*.q_proj.*", "level": "error", "status": "fail", "limit": 1e-4,
         "measured": 9e-3, "basis": "source", "offender": "model.layers.0.self_attn.q_proj.weight", "message": "use more bits"},
    ]  # fmt: skip
    page = pages.open(report)
    assert page.inner_text("#verdict") == "FAIL"
    assert page.inner_text("#claims-verdict") == "claims FAIL, 1 of 3"
    ids = page.eval_on_selector_all("main > section", "(all) => all.map((node) => node.id)")
    assert ids[:4] == ["failures", "claims", "warnings", "size"]
    assert "lm_head.weight" in page.inner_text("#failures")
    assert texts(page, "#claims .status") == ["FAIL", "WARN", "PASS"]
    rows = texts(page, "#claims tbody tr")
    for part in ("1.00e-04", "0.009000", "model.layers.0.self_attn.q_proj.weight", "use more bits"):
        assert part in rows[0]
    assert "5.00 MB" in rows[2] and "2.90 MB" in rows[2]


def test_inspection(pages, inspection):
    page = pages.open(inspection)
    assert page.inner_text("#verdict") == "inspected"
    assert page.locator("#errors, #rate").count() == 0
    shown = numbers(page, "#statistics-map .heat-cell", "data-value")
    assert len(shown) == len({(row["role"]["layer"], row["role"]["kind"]) for row in inspection["tensors"]})
    embedding = next(row for row in inspection["tensors"] if row["role"]["kind"] == "embedding")
    assert any(value == pytest.approx(embedding["statistics"]["kurtosis"]) for value in shown)
    chosen = page.inner_text("#distribution-name")
    row = next(row for row in inspection["tensors"] if row["name"] == chosen)
    assert numbers(page, "#histogram .only", "data-count") == row["statistics"]["histogram"]["counts"]
    assert sum(numbers(page, "#account .segment", "data-bytes")) == inspection["bytes"]["total"]
    assert f"{inspection['bytes']['total']}" in page.inner_text("#account").replace("\u2009", "")


def test_model(pages, inspection):
    """The facts about the model, a row for each line of the terminal; what is not stated has no row."""

    def shown(facts):
        page = pages.open(inspection | {"model": facts})
        return dict(row.split("\t") for row in page.inner_text("#model table").replace("\u2009", " ").splitlines())

    assert shown(inspection["model"]) == {
        "architecture": "llama", "layers": "4, embedding length 256, 4 heads, 1 key-value head", "context": "512 tokens",
        "element type": "float16", "vocabulary": "2 048 tokens",
    }  # fmt: skip
    assert shown(
        {
            "architecture": "gemma3", "name": "Gemma", "size_label": "270M", "file_type": 15, "vocab_size": 9,
            "file_type_name": "MOSTLY_Q4_K_M", "quantization_version": 2, "tokenizer": "llama", "tokens": 262144,
            "license": "gemma",
        }
    ) == {
        "architecture": "gemma3", "name": "Gemma", "parameters": "270M",
        "file type": "MOSTLY_Q4_K_M (15), quantization version 2", "tokenizer": "llama, 262 144 tokens",
        "licence": "gemma",
    }  # fmt: skip
    for nothing in (None, {}, [], "x", {"layers": "4", "name": 3}):
        assert pages.open(inspection | {"model": nothing}).locator("#model").count() == 0


def test_optional_members_may_be_missing(pages, verification):
    report = copy.deepcopy(verification)
    report["tensors"] = [
        {key: row[key] for key in ("name", "scheme", "certificate")} | {"measured": None} for row in report["tensors"]
    ]
    for member in ("source_bytes", "output_bytes", "reduction", "weights", "bits_per_weight"):
        del report[member]
    report["compared"] = False
    page = pages.open(report)
    assert page.inner_text("#verdict") == "PASS"
    assert page.eval_on_selector_all("main > section", "(all) => all.map((node) => node.id)") == ["tensors"]
    assert len(names(page)) == len(report["tensors"])
    bare = pages.open({"schema": "ingot.verify", "tensors": []})
    assert bare.locator("main > section").count() == 0
    odd = pages.open(
        {
            "schema": "ingot.verify",
            "tensors": [None, 3, {}, {"name": 5, "measured": "x", "shape": "y", "bytes": "z"}],
            "claims": 7,
        }
    )
    assert len(names(odd)) == 4


def test_keyboard_reaches_everything(pages, verification):
    page = pages.open(verification)
    nameless = page.eval_on_selector_all(
        "button, select, input, [tabindex='0']",
        "(all) => all.filter((n) => !(n.getAttribute('aria-label') || n.innerText || '').trim()).map((n) => n.outerHTML.slice(0, 80))",
    )
    assert nameless == []
    stops = page.locator("#map-before [tabindex='0']")
    assert stops.count() == 1, "a chart is one stop of the Tab key"
    stops.focus()
    page.keyboard.press("ArrowRight")
    label = page.evaluate("document.activeElement.getAttribute('aria-label')")
    page.keyboard.press("Enter")
    kind = label.split(",")[1].strip()
    assert set(texts(page, "#tensor-table tbody tr td:nth-child(3)")) == {kind}


def test_many_tensors(pages):
    import fixtures

    report = fixtures.many(5000)
    page = pages.open(report)
    assert "5\u2009000 tensors" in page.inner_text("#tensor-count")
    assert len(names(page)) == 100
    page.locator("th[data-column=bytes] button").click()
    page.click("#page-on")
    assert "101 to 200" in page.inner_text("#tensor-count")
    page.fill("#tensor-filter", "model.layers.83.*")
    assert len(names(page)) == sum(row["role"]["layer"] == 83 for row in report["tensors"]) > 0
    assert page.locator("#rate-chart .drawing .own").count() < 2000


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1600])
def test_screenshots(pages, verification, inspection, width, scheme):
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    for name, report in (("verify", verification), ("inspect", inspection)):
        page = pages.open(report, width, scheme)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, "nothing sticks out sideways"
        page.screenshot(path=SCREENSHOTS / f"{name}-{width}-{scheme}.png", full_page=True)


def test_on_paper(pages, verification):
    page = pages.open(verification, scheme="dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.querySelector('h1')).color") == "rgb(27, 32, 40)", (
        "dark ink on paper"
    )
    assert not page.locator("nav").is_visible()
