"""A rate-error chart as one standalone SVG without libraries or fonts. It brings its own background, light or dark as
the reader's system asks, so that it is readable on any page."""

import math
from html import escape

WIDTH, HEIGHT = 880, 600
LEFT, RIGHT, TOP, BOTTOM = 74, 60, 84, 56
TEXT_SIZE = 12
LETTER_WIDTH = 7.4  # of a wide sans-serif at this size
LINE_HEIGHT = 15
DOT = 4
# What a leader pays for each few pixels of something else that it crosses, in pixels of its own length.
CROSSING = 10

FAMILIES = {"llama.cpp": "a", "MLX": "b", "bitsandbytes": "c", "HQQ": "d"}
STYLE = """\
  .back { fill: #ffffff } .text { fill: #1f2328 } .dim { fill: #59636e } .grid { stroke: #d8dee4 }
  .bound { stroke: #818b98; stroke-dasharray: 6 4 } .ours, .ours2 { stroke: #cf222e } .ours-dot, .ours-text { fill: #cf222e }
  .a { fill: #0969da } .b { fill: #bc6c00 } .c { fill: #1a7f37 } .d { fill: #8250df } .leader { stroke: #818b98 }
  circle { stroke: #ffffff }
  @media (prefers-color-scheme: dark) {
    .back { fill: #0d1117 } .text { fill: #e6edf3 } .dim { fill: #9198a1 } .grid { stroke: #2a313c }
    .bound { stroke: #7d8590 } .ours, .ours2 { stroke: #ff7b72 } .ours-dot, .ours-text { fill: #ff7b72 }
    .a { fill: #58a6ff } .b { fill: #e3a34b } .c { fill: #56d364 } .d { fill: #bc8cff } .leader { stroke: #6e7681 }
    circle { stroke: #0d1117 }
  }
  text { font-family: system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif }
  polyline, line { fill: none } .ours, .bound { stroke-width: 2 } .ours2 { stroke-width: 1; stroke-dasharray: 2 2 } .bold { font-weight: 600 }"""

Place = tuple[float, float]


class Axes:
    """Bits per weight to the right, relative MSE upward, logarithmic: the Gaussian bound is a straight line."""

    def __init__(self, points: list[tuple[float, float]]):
        bits, errors = zip(*points)
        self.bits = (math.floor(min(bits)), math.ceil(max(bits)))
        self.errors = (math.log10(min(errors)) - 0.15, math.log10(max(errors)) + 0.15)

    def x(self, bits: float) -> float:
        low, high = self.bits
        return LEFT + (bits - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(self, error: float) -> float:
        low, high = self.errors
        return HEIGHT - BOTTOM - (math.log10(error) - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def at(self, point: tuple[float, float]) -> Place:
        return self.x(point[0]), self.y(point[1])

    def bound(self) -> tuple[Place, Place]:
        """The ends of D = 2^(-2R) within the axes."""
        rates = [-exponent * math.log2(10) / 2 for exponent in self.errors]
        rates = [min(max(rate, self.bits[0]), self.bits[1]) for rate in rates]
        return self.at((rates[0], 4.0 ** -rates[0])), self.at((rates[1], 4.0 ** -rates[1]))


class Box:
    """What a label covers, or must not cover."""

    def __init__(self, left: float, top: float, right: float, bottom: float):
        self.left, self.top, self.right, self.bottom = left, top, right, bottom

    @classmethod
    def around(cls, place: Place, radius: float) -> "Box":
        return cls(place[0] - radius, place[1] - radius, place[0] + radius, place[1] + radius)

    @classmethod
    def of_text(cls, content: str, left: float, middle: float) -> "Box":
        half = LINE_HEIGHT / 2 - 1
        return cls(left, middle - half, left + LETTER_WIDTH * len(content), middle + half)

    @property
    def middle(self) -> float:
        return (self.top + self.bottom) / 2

    def overlaps(self, other: "Box") -> bool:
        return (
            self.left < other.right
            and self.right > other.left
            and self.top < other.bottom
            and self.bottom > other.top
        )

    def inside(self) -> bool:
        return self.left > LEFT and self.right < WIDTH and self.top > TOP and self.bottom < HEIGHT - BOTTOM


def along(*places: Place) -> list[Box]:
    """A polyline as small boxes."""
    boxes = []
    for (x0, y0), (x1, y1) in zip(places, places[1:]):
        steps = max(1, round(math.hypot(x1 - x0, y1 - y0) / 4))
        boxes += [Box.around((x0 + (x1 - x0) * i / steps, y0 + (y1 - y0) * i / steps), 2) for i in range(steps + 1)]
    return boxes


class Labels:
    """Finds a place for every label. Points straight above each other, as formats of one size are, get a column of
    labels in their order; then every other point gets the nearest free place around it."""

    def __init__(self, points: list[Place], names: list[str], lines: list[Box]):
        self._points, self._names = points, names
        self._taken = lines + [Box.around(point, DOT + 1) for point in points]
        self.boxes: list[Box | None] = [None] * len(points)
        groups = self._groups()
        for group in groups:
            if len(group) > 1:
                self._column(group)
        for group in groups:
            if len(group) == 1:
                self._near(group[0])

    def leader(self, index: int) -> tuple[Place, Place] | None:
        """A line from the point to its label, where they are not side by side."""
        return self._leader(self._points[index], self.boxes[index])

    @staticmethod
    def _leader(point: Place, box: Box) -> tuple[Place, Place] | None:
        end = (min(max(point[0], box.left - 2), box.right + 2), box.middle)
        return (point, end) if math.dist(point, end) > 3 * DOT else None

    def _groups(self) -> list[list[int]]:
        groups: list[list[int]] = []
        for index in sorted(range(len(self._points)), key=lambda i: self._points[i][::-1]):
            x, y = self._points[index]
            for group in groups:
                last_x, last_y = self._points[group[-1]]
                if abs(x - last_x) < DOT and y - last_y < 2 * LINE_HEIGHT:
                    group.append(index)
                    break
            else:
                groups.append([index])
        return groups

    def _column(self, group: list[int]) -> None:
        heights = [self._points[index][1] for index in group]
        first = sum(heights) / len(group) - LINE_HEIGHT * (len(group) - 1) / 2
        middles = [first + LINE_HEIGHT * row for row in range(len(group))]
        if all(later - earlier >= LINE_HEIGHT for earlier, later in zip(heights, heights[1:])):
            middles = heights
        moved = max(abs(middle - height) for middle, height in zip(middles, heights))
        left = self._points[group[0]][0] + (8 * DOT if moved > DOT + 2 else 2 * DOT + 1)
        for index, middle in zip(group, middles):
            self._put(index, Box.of_text(self._names[index], left, middle))

    def _near(self, index: int) -> None:
        (x, y), name = self._points[index], self._names[index]
        angles = sorted((math.radians(degrees) for degrees in range(-180, 180, 10)), key=abs)
        candidates = []
        for distance in range(2 * DOT + 1, 160, 3):
            for angle in angles:
                edge, middle = x + distance * math.cos(angle), y + distance * math.sin(angle)
                left = edge if math.cos(angle) >= 0 else edge - LETTER_WIDTH * len(name)
                box = Box.of_text(name, left, middle)
                if box.inside() and not any(box.overlaps(other) for other in self._taken):
                    candidates.append((distance + CROSSING * self._crossings(index, box), box))
        self._put(index, min(candidates, key=lambda candidate: candidate[0])[1])

    def _crossings(self, index: int, box: Box) -> int:
        """How many boxes the leader to a label at `box` would cross, near the point left out."""
        point = self._points[index]
        leader = self._leader(point, box)
        if leader is None:
            return 0
        parts = [part for part in along(*leader) if not part.overlaps(Box.around(point, 2 * DOT))]
        return sum(part.overlaps(other) for part in parts for other in self._taken)

    def _put(self, index: int, box: Box) -> None:
        self.boxes[index] = box
        self._taken.append(box)
        if leader := self.leader(index):
            self._taken += along(*leader)


def text(place: Place, content: str, style: str = "text", size: int = TEXT_SIZE, anchor: str = "start") -> str:
    x, y = place
    attributes = f'class="{style}" x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"'
    return f"<text {attributes}>{escape(content)}</text>"


def line(start: Place, end: Place, style: str) -> str:
    (x0, y0), (x1, y1) = start, end
    return f'<line class="{style}" x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}"/>'


def dot(place: Place, style: str, radius: float = DOT) -> str:
    return f'<circle class="{style}" cx="{place[0]:.1f}" cy="{place[1]:.1f}" r="{radius}"/>'


def grid(axes: Axes) -> list[str]:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = []
    for bits in range(axes.bits[0], axes.bits[1] + 1):
        x = axes.x(bits)
        parts += [line((x, TOP), (x, bottom), "grid"), text((x, bottom + 18), str(bits), "dim", anchor="middle")]
    for exponent in range(math.ceil(axes.errors[0]), math.floor(axes.errors[1]) + 1):
        y, number = axes.y(10**exponent), f"{10**exponent:.{max(0, -exponent)}f}"
        parts += [line((LEFT, y), (right, y), "grid"), text((LEFT - 8, y + 4), number, "dim", anchor="end")]
    bits_title = "bits per weight, all side information counted"
    across = text(((LEFT + right) / 2, HEIGHT - 14), bits_title, "dim", anchor="middle")
    upward = text((16, (TOP + bottom) / 2), "relative MSE", "dim", anchor="middle")
    return [*parts, across, f'<g transform="rotate(-90 16 {(TOP + bottom) / 2})">{upward}</g>']


def legend(x: float, y: float) -> list[str]:
    parts = []
    for name, style, label_style in (
        ("Ingot, zstd", "ours", "ours-text bold"),
        ("Ingot, rANS", "ours2", "ours-text"),
        ("Gaussian bound", "bound", "text"),
    ):
        parts += [line((x, y), (x + 26, y), style), text((x + 34, y + 4), name, label_style)]
        x += 46 + LETTER_WIDTH * len(name)
    for family, style in FAMILIES.items():
        parts += [dot((x, y), style), text((x + 9, y + 4), family)]
        x += 30 + LETTER_WIDTH * len(family)
    return parts


def label(row: dict) -> str:
    """Short names: llama.cpp's and bitsandbytes' types are known by themselves."""
    if row["family"] in ("llama.cpp", "bitsandbytes"):
        return row["type"]
    return f"{row['family']} {row['type'].split(' g')[0]}"


def rate_error_chart(weights: dict) -> str:
    """The chart of one set of weights of compare.py's JSON."""
    rows = weights["formats"]
    peers = [(row["bits_per_weight"], row["relative_mse"]) for row in rows]
    ours, with_rans = (
        sorted((row[codec]["bits_per_weight"], row[codec]["relative_mse"]) for row in rows) for codec in ("zstd", "rans")
    )
    axes = Axes(peers + ours + with_rans)
    places, curve, bound = [axes.at(point) for point in peers], [axes.at(point) for point in ours], axes.bound()
    labels = Labels(places, [label(row) for row in rows], along(*curve) + along(*bound))

    title = f"Bits per weight against error: {weights['title']}"
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>\n{STYLE}\n</style>",
        f'<rect class="back" width="{WIDTH}" height="{HEIGHT}" rx="6"/>',
        text((LEFT, 30), title, "text bold", size=16),
        *legend(LEFT, 56),
        *grid(axes),
        line(*bound, "bound"),
        f'<polyline class="ours" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in curve)}"/>',
        f'<polyline class="ours2" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in map(axes.at, with_rans))}"/>',
        *(dot(place, "ours-dot", 3) for place in curve),
        *(line(*leader, "leader") for index in range(len(rows)) if (leader := labels.leader(index))),
        *(dot(place, FAMILIES[row["family"]]) for place, row in zip(places, rows)),
        *(text((box.left, box.middle + 4), label(row)) for box, row in zip(labels.boxes, rows)),
    ]
    return "\n".join([*parts, "</svg>"]) + "\n"
