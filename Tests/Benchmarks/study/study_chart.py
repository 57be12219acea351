"""KL divergence over bits per weight, a pair of panels (code, prose) for each model, as one standalone SVG."""

import math
import sys
from html import escape
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "peers"))

from chart import STYLE, dot, line, text  # noqa: E402

PANEL_WIDTH, PANEL_HEIGHT, LEFT, TOP, GAP, BOTTOM = 360, 270, 74, 84, 76, 60
WIDTH = LEFT + 2 * PANEL_WIDTH + GAP + 30
BITS = (1.9, 4.7)
SERIES = {"none": ("no calibration", "none-line"), "random": ("prose", "random-line"), "mixed": ("both texts", "mixed-line"),
          "code": ("code", "code-line")}  # fmt: skip
# Where the names of llama.cpp's types stand beside their dots, if not above to the right.
LABELS = {"IQ2_S": (-8, 4, "end"), "IQ4_XS": (0, -9, "middle"), "Q4_K": (0, 18, "middle")}
MORE_STYLE = """
  .none-line { stroke: #818b98 } .random-line { stroke: #bc6c00 } .mixed-line { stroke: #cf222e } .code-line { stroke: #1a7f37 }
  polyline { stroke-width: 2 } .none-dot { fill: #818b98 } .random-dot { fill: #bc6c00 } .mixed-dot { fill: #cf222e } .code-dot { fill: #1a7f37 }
  @media (prefers-color-scheme: dark) {
    .none-line { stroke: #7d8590 } .random-line { stroke: #e3a34b } .mixed-line { stroke: #ff7b72 } .code-line { stroke: #56d364 }
    .none-dot { fill: #7d8590 } .random-dot { fill: #e3a34b } .mixed-dot { fill: #ff7b72 } .code-dot { fill: #56d364 }
  }"""


class Panel:
    """One model and one text. Divergences are on a logarithmic scale."""

    def __init__(self, left: float, top: float, divergences: list[float]):
        self.left, self.top = left, top
        self.low, self.high = math.log10(min(divergences)) - 0.1, math.log10(max(divergences)) + 0.1

    def at(self, bits: float, divergence: float) -> tuple[float, float]:
        x = self.left + (bits - BITS[0]) / (BITS[1] - BITS[0]) * PANEL_WIDTH
        return x, self.top + (self.high - math.log10(divergence)) / (self.high - self.low) * PANEL_HEIGHT

    def frame(self, title: str) -> list[str]:
        right, bottom = self.left + PANEL_WIDTH, self.top + PANEL_HEIGHT
        parts = [text((self.left, self.top - 10), title, "text bold", size=13)]
        for bits in (2, 2.5, 3, 3.5, 4, 4.5):
            x, _ = self.at(bits, 1)
            parts += [line((x, self.top), (x, bottom), "grid"), text((x, bottom + 16), f"{bits:g}", "dim", anchor="middle")]
        for exponent in range(math.floor(self.low), math.ceil(self.high) + 1):
            for factor in (1, 2, 5):
                value = factor * 10.0**exponent
                if self.low <= math.log10(value) <= self.high:
                    _, y = self.at(2, value)
                    parts += [line((self.left, y), (right, y), "grid"), text((self.left - 8, y + 4), f"{value:g}", "dim", anchor="end")]
        return parts


def panel(rows, title: str, kind: str, left: float, top: float) -> list[str]:
    def points(chosen: list[dict]) -> list[tuple[float, float]]:
        found = [(row["linear_bits"], row["texts"][kind]["kl"]["value"]) for row in chosen]
        return sorted(point for point in found if BITS[0] <= point[0] <= BITS[1])

    series = {name: points([row for row in rows.of("ours") if row["calibration"] == name]) for name in SERIES}
    # A model that was calibrated with half of both texts alone has no mixed rows.
    series["mixed"] = series["mixed"] or points([row for row in rows.of("ours") if row["calibration"] == "half"])
    by_type = {row["type"]: row for name in ("code", "half", "mixed") for row in rows.of("peer") if row["calibration"] == name}
    types = list(by_type.values())
    everything = [point for found in series.values() for point in found] + points(types)
    if not everything:
        return []
    place = Panel(left, top, [divergence for _, divergence in everything])
    parts = place.frame(f"{title}, {kind}")
    for name, found in series.items():
        places = [place.at(*point) for point in found]
        parts.append(f'<polyline class="{SERIES[name][1]}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in places)}"/>')
        parts += [dot(spot, f"{name}-dot", 3) for spot in places]
    for row in types:
        spot = place.at(row["linear_bits"], row["texts"][kind]["kl"]["value"])
        right, down, anchor = LABELS.get(row["type"], (7, -5, "start"))
        parts += [dot(spot, "a"), text((spot[0] + right, spot[1] + down), row["type"], anchor=anchor)]
    return parts


def legend() -> list[str]:
    parts, x, y = [], LEFT, 46
    for name, (title, style) in SERIES.items():
        parts += [line((x, y), (x + 26, y), style), text((x + 34, y + 4), title)]
        x += 54 + 7 * len(title)
    return [*parts, dot((x + 4, y), "a"), text((x + 14, y + 4), "llama.cpp, importance matrix of both texts")]


def chart(models: list) -> str:
    from page import TITLES

    height = TOP + len(models) * (PANEL_HEIGHT + BOTTOM) + 10
    title = "KL divergence from the unquantized model (nats) over bits per weight of the linear layers"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">',
        f"<title>{escape(title)}</title>", f"<style>\n{STYLE}{MORE_STYLE}\n</style>",
        f'<rect class="back" width="{WIDTH}" height="{height}" rx="6"/>',
        text((LEFT, 26), title, "text bold", size=14), *legend(),
    ]  # fmt: skip
    for number, rows in enumerate(models):
        for column, kind in enumerate(("code", "prose")):
            parts += panel(rows, TITLES[rows.model], kind, LEFT + column * (PANEL_WIDTH + GAP), TOP + number * (PANEL_HEIGHT + BOTTOM))
    return "\n".join([*parts, "</svg>"]) + "\n"
