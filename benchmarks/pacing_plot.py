"""A run as an SVG: what was sent and refused, bar by bar, and the rate that the client believed in beside the quota."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final, NamedTuple
from xml.sax.saxutils import escape

from clarus_async.events import AttemptEvent

_WIDTH, _HEIGHT = 860, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 22, 98, 48
_MOST_BARS: Final = 120  # of six pixels each
_BAR_WIDTHS: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)  # seconds
_REFUSED: Final = frozenset({429, 503})

# A page's own colour scheme does not reach an image: it has a background of its own, and follows the system's scheme.
_STYLE = """
text { font: 12px system-ui, "Segoe UI", "Helvetica Neue", Arial, "DejaVu Sans", sans-serif; fill: #1f2328; }
.title { font-size: 16px; font-weight: 600; }
.faint { fill: #59636e; }
.card { fill: #ffffff; stroke: #d1d9e0; }
.grid { stroke: #e4e8ec; }
.axis { stroke: #818b98; }
.admitted { fill: #7fb5f0; }
.refused { fill: #d1242f; }
.believed { stroke: #1f2328; stroke-width: 2; fill: none; stroke-linejoin: round; }
.quota { stroke: #1a7f37; stroke-width: 2; stroke-dasharray: 7 5; }
.turn { stroke: #818b98; stroke-dasharray: 2 3; }
.gap { stroke: #ffffff; stroke-width: 3; fill: none; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .faint { fill: #9198a1; }
  .card { fill: #0d1117; stroke: #3d444d; }
  .grid { stroke: #262c34; }
  .axis { stroke: #656c76; }
  .admitted { fill: #2f6fc0; }
  .refused { fill: #ff6a5e; }
  .believed { stroke: #f0f6fc; }
  .quota { stroke: #57d364; }
  .gap { stroke: #0d1117; }
}
"""


class Point(NamedTuple):
    """A moment, in seconds since the first call, and requests a second; ``None`` where nothing is believed."""

    at: float
    rate: float | None


class Picture(NamedTuple):
    """What is drawn."""

    title: str  # the limiter in words
    subtitle: str  # what the run came to
    quota: float  # requests a second in the long run
    seconds: float
    attempts: Sequence[AttemptEvent]
    began_at: float  # when the first call was made, on the clock of the requests
    believed: Sequence[Point]  # the client's rate, from time to time
    turns: Sequence[float] = ()  # when a new window of the quota began, where it has windows


class _Bar(NamedTuple):
    number: int
    admitted: float
    refused: float

    @property
    def sent(self) -> float:
        return self.admitted + self.refused


class _Scale(NamedTuple):
    seconds: float
    top: float
    """Requests a second at the upper edge; a short burst of many times the quota is cut off there."""

    def x(self, seconds: float) -> float:
        return round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * seconds / self.seconds, 1)

    def y(self, rate: float) -> float:
        return round(_HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * rate / self.top, 1)


def svg(picture: Picture) -> str:
    """Draw it."""
    widths = (width for width in _BAR_WIDTHS if picture.seconds / width <= _MOST_BARS)
    width = next(widths, _BAR_WIDTHS[-1])
    bars = _bars(picture, width)
    scale = _Scale(math.ceil(picture.seconds / width) * width, 2 * picture.quota)
    parts = [
        *_frame(picture, scale),
        *_drawn_bars(bars, width, scale),
        *(_line("turn", scale.x(at), _TOP, scale.x(at), _HEIGHT - _BOTTOM) for at in picture.turns),
        _line("quota", _LEFT, scale.y(picture.quota), _WIDTH - _RIGHT, scale.y(picture.quota)),
        *_believed(picture.believed, scale),
        *_legend(picture, width),
    ]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" role="img" aria-label="{escape(picture.title, {chr(34): "&quot;"})}">'
    )
    return "\n".join([head, f"<style>{_STYLE}</style>", *parts, "</svg>", ""])


def _bars(picture: Picture, width: float) -> list[_Bar]:
    sent: Counter[tuple[int, bool]] = Counter(
        (int((attempt.started_at - picture.began_at) / width), attempt.status in _REFUSED)
        for attempt in picture.attempts
    )
    numbers = sorted({number for number, _ in sent})
    return [_Bar(number, sent[number, False] / width, sent[number, True] / width) for number in numbers]


def _frame(picture: Picture, scale: _Scale) -> Iterator[str]:
    yield f'<rect class="card" x="0.5" y="0.5" width="{_WIDTH - 1}" height="{_HEIGHT - 1}" rx="8"/>'
    yield _text("title", 20, 30, picture.title)
    yield _text("faint", 20, 51, picture.subtitle)
    step = _step(scale.top / 2)
    for number in range(round(scale.top / step) + 1):
        y = scale.y(number * step)
        yield _line("axis" if number == 0 else "grid", _LEFT, y, _WIDTH - _RIGHT, y)
        yield _text("faint", _LEFT - 8, y + 4, f"{number * step:g}", "end")
    step = _step(scale.seconds / 2)
    for number in range(int(scale.seconds / step) + 1):
        yield _text("faint", scale.x(number * step), _HEIGHT - _BOTTOM + 17, f"{number * step:g}", "middle")
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    yield _text("faint", (_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 12, "seconds since the first call", "middle")
    yield _text("faint", 18, middle, "requests a second", "middle", f' transform="rotate(-90 18 {middle})"')


def _step(about: float) -> float:
    """Return a round number, so that ``about`` is two to five times as much."""
    power = 10.0 ** math.floor(math.log10(about / 2))
    return next(power * of for of in (5, 2, 1) if power * of <= about / 2)


def _drawn_bars(bars: Iterable[_Bar], width: float, scale: _Scale) -> Iterator[str]:
    for bar in bars:
        left, right = scale.x(bar.number * width), scale.x((bar.number + 1) * width)
        # What is cut off at the upper edge keeps its proportions.
        shown = min(1.0, scale.top / bar.sent)
        edges = [scale.y(rate * shown) for rate in (0.0, bar.admitted, bar.sent)]
        for name, lower, upper in zip(("admitted", "refused"), edges, edges[1:], strict=False):
            if lower > upper:
                size = f'width="{right - left - 1:.1f}" height="{lower - upper:.1f}"'
                yield f'<rect class="{name}" x="{left}" y="{upper}" {size}/>'
    for cut, together in groupby(bars, lambda bar: bar.sent > scale.top):
        if cut:
            row = list(together)
            left, right = scale.x(row[0].number * width), scale.x((row[-1].number + 1) * width)
            yield f'<path class="gap" d="M{left - 2} {_TOP + 12} L{right + 1} {_TOP + 6}"/>'
            yield _text("faint", (left + right) / 2, _TOP - 5, f"{max(bar.sent for bar in row):.0f}", "middle")


def _believed(points: Iterable[Point], scale: _Scale) -> Iterator[str]:
    area = f'x="{_LEFT}" y="{_TOP}" width="{_WIDTH - _LEFT - _RIGHT}" height="{_HEIGHT - _TOP - _BOTTOM}"'
    yield f'<clipPath id="area"><rect {area}/></clipPath>'
    for known, together in groupby(points, lambda point: point.rate is not None):
        if known:
            path = " L".join(f"{scale.x(point.at)} {scale.y(point.rate or 0.0)}" for point in together)
            yield f'<path class="believed" clip-path="url(#area)" d="M{path}"/>'


def _legend(picture: Picture, width: float) -> Iterator[str]:
    x, y = 20, 76
    words = [
        ("admitted", f"admitted, each bar {width:g} s"),
        ("refused", "refused"),
        ("believed", "believed: client.pace.rate"),
        ("quota", f"the quota: {picture.quota:g} a second"),
        *([("turn", "a new window")] if picture.turns else []),
    ]
    for name, word in words:
        if name in {"admitted", "refused"}:
            yield f'<rect class="{name}" x="{x}" y="{y - 10}" width="12" height="12"/>'
            x += 18
        else:
            yield _line(name, x, y - 4, x + 26, y - 4)
            x += 32
        yield _text("", x, y, word)
        # A rough width of the word: an SVG can't measure its text.
        x += round(6.2 * len(word)) + 16


def _line(name: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{name}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>'


def _text(name: str, x: float, y: float, text: str, anchor: str = "start", more: str = "") -> str:
    return f'<text class="{name}" x="{x}" y="{y}" text-anchor="{anchor}"{more}>{escape(text)}</text>'
