"""Cost-quality curves as an SVG picture, drawn by hand: no plotting library is needed."""

from collections.abc import Mapping, Sequence
from typing import Final

from bench.routing.measures import Point

WIDTH: Final = 380
HEIGHT: Final = 300
LEFT: Final = 52
TOP: Final = 34
INNER_WIDTH: Final = WIDTH - LEFT - 14
INNER_HEIGHT: Final = HEIGHT - TOP - 44
COLOURS: Final = ("#0b5fa5", "#c1121f", "#5f6b76", "#2a7f3f", "#8a5a00")
POINTS_MAX: Final = 240


def picture(sets: Mapping[str, Mapping[str, Sequence[Point]]]) -> str:
    """Draw one panel for each set, one line for each rule."""
    legend = list(next(iter(sets.values())))
    width, height = WIDTH * len(sets), HEIGHT + 24 * len(legend)
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">'
        ),
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for index, (name, rules) in enumerate(sets.items()):
        parts += _panel(name, rules, index * WIDTH)
    for index, rule in enumerate(legend):
        y = HEIGHT + 14 + 22 * index
        colour = COLOURS[index % len(COLOURS)]
        parts.append(f'<rect x="{LEFT}" y="{y - 5}" width="26" height="4" fill="{colour}"/>')
        parts.append(f'<text x="{LEFT + 36}" y="{y + 2}" fill="#222222">{rule}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _panel(name: str, rules: Mapping[str, Sequence[Point]], left: int) -> list[str]:
    every = [point for points in rules.values() for point in points]
    low, high = min(p.cost_usd for p in every), max(p.cost_usd for p in every)
    worst, best = min(p.quality for p in every), max(p.quality for p in every)

    def place(point: Point) -> tuple[float, float]:
        across = (point.cost_usd - low) / (high - low or 1)
        up = (point.quality - worst) / (best - worst or 1)
        return left + LEFT + across * INNER_WIDTH, TOP + (1 - up) * INNER_HEIGHT

    bottom = TOP + INNER_HEIGHT
    parts = [
        f'<text x="{left + LEFT}" y="20" font-size="14" fill="#111111">{name}</text>',
        (
            f'<rect x="{left + LEFT}" y="{TOP}" width="{INNER_WIDTH}" height="{INNER_HEIGHT}" '
            'fill="none" stroke="#b8bfc6"/>'
        ),
        _text(left + LEFT, bottom + 16, f"${low * 1000:.2f}"),
        _text(left + LEFT + INNER_WIDTH, bottom + 16, f"${high * 1000:.2f}", "end"),
        _text(left + LEFT + INNER_WIDTH / 2, bottom + 32, "cost of 1,000 requests", "middle"),
        _text(left + LEFT - 6, bottom, f"{worst:.3f}", "end"),
        _text(left + LEFT - 6, TOP + 10, f"{best:.3f}", "end"),
        _text(left + LEFT - 6, TOP + INNER_HEIGHT / 2, "right", "end"),
    ]
    for index, points in enumerate(rules.values()):
        step = max(len(points) // POINTS_MAX, 1)
        shown = [*points[::step], points[-1]]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(place, shown))
        colour = COLOURS[index % len(COLOURS)]
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
    return parts


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" fill="#444444">{text}</text>'
