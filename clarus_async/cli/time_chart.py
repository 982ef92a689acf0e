"""Charts over the time in which runs went on, as SVG: what lies between two runs takes no room."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from xml.etree import ElementTree as ET

from clarus_async.cli.streams import printable
from clarus_async.provisioning.journal.timeline import JournaledRun, Stretch, binned

_MOST: Final = 120  # bars: on a phone, each is two pixels wide
_HEIGHT, _TOP, _FOOT, _LEFT, _RIGHT = 190, 8, 164, 44, 8
_SIZES: Final = {"wide": (760, 9), "narrow": (340, 4)}
"""Of a screen: units of the drawing, which are pixels at the most, and how many times of day stand below it."""
_STEPS: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)


def element(tag: str, *content: Any, **attributes: Any) -> ET.Element:  # noqa: ANN401
    """Build an element of HTML or SVG; whatever text it holds is shown as it is, and can't be anything else."""
    names = {name.rstrip("_").replace("_", "-"): printable(str(value)) for name, value in attributes.items()}
    made = ET.Element(tag, names)
    for part in content:
        if isinstance(part, ET.Element):
            made.append(part)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + printable(str(part))
        else:
            made.text = (made.text or "") + printable(str(part))
    return made


def chart(
    title: str,
    says: str,
    layers: Mapping[str, Callable[[Stretch], float]],
    stretches: Sequence[Stretch],
    runs: Sequence[JournaledRun],
    size: str,
) -> ET.Element:
    """Draw what happened each second, one layer upon the other, with the pauses behind; ``says`` tells it in words."""
    width, most_times = _SIZES[size]
    bins, total = binned(stretches, _MOST), sum(one.seconds for one in stretches)
    top, step = _scale(max(sum(layer(one) for layer in layers.values()) / one.seconds for one in bins))
    wide, drawn = (width - _LEFT - _RIGHT) / len(bins), []

    def line(kind: str, x1: float, x2: float, y1: float, y2: float) -> None:
        places = {name: f"{value:.1f}" for name, value in (("x1", x1), ("x2", x2), ("y1", y1), ("y2", y2))}
        drawn.append(element("line", class_=kind, **places))

    def bar(kind: str, number: int, y: float, gap: float, height: float) -> None:
        places = {"x": _LEFT + number * wide, "y": y, "width": wide - gap, "height": height}
        drawn.append(element("rect", class_=kind, **{name: f"{value:.1f}" for name, value in places.items()}))

    for number in range(round(top / step) + 1):
        y = _FOOT - (_FOOT - _TOP) * number * step / top
        line("grid", _LEFT, width - _RIGHT, y, y)
        drawn.append(element("text", f"{number * step:,g}", x=_LEFT - 6, y=f"{y + 4:.1f}", text_anchor="end"))
    for number, one in enumerate(bins):
        if one.paused > one.seconds / 2:
            bar("pause", number, _TOP, 0.0, _FOOT - _TOP)
        y = float(_FOOT)
        for kind, layer in layers.items():
            height = (_FOOT - _TOP) * layer(one) / one.seconds / top
            y -= height
            if height > 0.05:
                bar(kind, number, y, min(0.6, wide / 4), height)
    line("axis", _LEFT, width - _RIGHT, _FOOT, _FOOT)
    scale = (width - _LEFT - _RIGHT) / total
    for run in runs[1:]:
        x = _LEFT + scale * sum(one.seconds for one in stretches if one.until <= run.began + 0.5)
        line("run", x, x, _TOP, _FOOT)
    for seconds, time in _times(stretches, total, most_times):
        x = _LEFT + scale * seconds
        line("axis", x, x, _FOOT, _FOOT + 4)
        drawn.append(element("text", time, x=f"{x:.1f}", y=_FOOT + 18, text_anchor="middle"))
    return element(
        "svg", element("title", title), element("desc", says), *drawn,
        xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {width} {_HEIGHT}", role="img", class_=size,
        aria_label=f"{title}. {says}",
    )  # fmt: skip


def _scale(most: float) -> tuple[float, float]:
    """Return a round number above what is drawn, and the distance of the lines up to there."""
    rough = max(most, 0.01) / 4
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)
    return step * max(1, math.ceil(most / step)), step


def _times(stretches: Sequence[Stretch], total: float, most: int) -> Iterator[tuple[float, str]]:
    """Choose round times of day, and yield them with the seconds of running after which they were."""
    each = next((step for step in _STEPS if total / step <= most), math.ceil(total / most / 86400) * 86400)
    form = "%H:%M:%S" if each < 60 else "%H:%M" if each < 86400 else "%m-%d"
    passed, last = 0.0, 0.0
    for one in stretches:
        offset = datetime.fromtimestamp(one.at, UTC).astimezone().utcoffset()
        begin = one.at + (0.0 if offset is None else offset.total_seconds())
        for number in range(math.ceil(begin / each), math.ceil((begin + one.seconds) / each)):
            seconds = passed + number * each - begin
            # None stands on another, nor beyond the edge.
            if last + 0.6 * total / most < seconds < 0.96 * total or (not last and 0.04 * total < seconds):
                last = seconds
                yield seconds, f"{datetime.fromtimestamp(number * each, UTC):{form}}"
        passed += one.seconds
