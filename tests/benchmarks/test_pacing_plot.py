"""What the pacing benchmark draws of a run."""

import re
from xml.etree import ElementTree as ET

from benchmarks.pacing_plot import Picture, Point, svg
from clarus_async.events import AttemptEvent

SVG = "{http://www.w3.org/2000/svg}"


def sent(at, status=200):
    return AttemptEvent(1, "create", 1, 100.0 + at, 0.01, status, None, "applied", None)


def drawn(*attempts, believed=(), quota=10.0, turns=()):
    picture = Picture(
        title='"A" & <B>', subtitle="of a run", quota=quota, seconds=2.0, attempts=attempts, began_at=100.0,
        believed=believed, turns=turns,
    )  # fmt: skip
    return ET.fromstring(svg(picture))


def bars(image, name):
    # The last is the legend's.
    return [float(bar.get("height")) for bar in image.iter(f"{SVG}rect") if bar.get("class") == name][:-1]


def texts(image):
    return {text.text for text in image.iter(f"{SVG}text")}


def test_both_axes_and_everything_that_is_drawn_are_named():
    image = drawn(sent(0.0), turns=[1.0])

    assert {
        '"A" & <B>', "of a run", "requests a second", "seconds since the first call", "admitted, each bar 0.1 s",
        "refused", "believed: client.pace.rate", "the quota: 10 a second", "a new window",
    } <= texts(image)  # fmt: skip


def test_a_bar_is_as_high_as_requests_a_second_and_the_refused_are_on_top():
    image = drawn(sent(0.01), sent(0.02, 429), sent(1.5))

    [both, later], [refused] = bars(image, "admitted"), bars(image, "refused")
    # One request in a bar of 0.1 s is 10 a second, which is the quota, and half the height.
    assert both == later == refused == 127.0


def test_what_is_cut_off_at_the_upper_edge_keeps_its_proportions_and_says_how_much_it_was():
    image = drawn(*(sent(0.01) for _ in range(9)), *(sent(0.01, 503) for _ in range(3)))

    [admitted], [refused] = bars(image, "admitted"), bars(image, "refused")
    assert admitted + refused == 254.0
    assert abs(admitted - 3 * refused) < 1
    assert "120" in texts(image)


def test_the_line_of_the_believed_rate_is_interrupted_where_nothing_is_believed():
    believed = [Point(0.0, None), Point(0.5, 10.0), Point(1.0, 20.0), Point(1.5, None), Point(2.0, 10.0)]

    lines = [path.get("d") for path in drawn(sent(0.0), believed=believed).iter(f"{SVG}path")]

    assert [len(re.findall("[ML]", line)) for line in lines] == [2, 1]
