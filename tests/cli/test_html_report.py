"""The page of a report: it loads nothing, shows any key as text, and fits a phone and a screen, light and dark."""

from __future__ import annotations

import itertools
import random
import re
import stat
import time
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from clarus_async.cli import html_report
from clarus_async.cli.html_report import page, write_page
from clarus_async.cli.time_chart import chart
from clarus_async.errors import Applied, ConfigurationError
from clarus_async.provisioning.journal.rows import Row
from clarus_async.provisioning.journal.timeline import Doubts, JournaledRun, Settled, Stretch, binned
from clarus_async.provisioning.report import Outcome, OutcomeStatus, Problem, Report
from clarus_async.provisioning.review import History
from tests.support.browser import browser, needs_chromium

NOON = 1_768_046_400.0
ODD = [
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</style><svg onload=alert(1)>", "NUL\x00bell\x07",
    "a\u202egnp.exe\u2066", "日本のお店", "x" * 4000, "", "&amp; 'quoted'", "two\nlines",
]  # fmt: skip


def problem(message="POST /api/integrations: 422 no"):
    return Problem(type="ValidationError", message=message, applied=Applied.NO, retryable=False, status=422)


def outcome(number, status, key=None, **more):
    fields = {"index": number, "key": f"ref-{number}" if key is None else key, "resource": "integrations"}
    return Outcome(status=status, error=problem(key or "no"), **fields | more)


def history_of(report=None, **more):
    """What a journal tells; of nothing, unless it is said."""
    job = {"tenant": "acme", "base_url": "https://clarus.test", "resource": "integrations", "operation": "provision"}
    nothing = {"in_flight": 0, "runs": [], "stretches": [], "doubts": {}, "slowest": [], "differing": {}, "shown": {}}
    counts = dict.fromkeys(OutcomeStatus, 0) | (report or {})
    return History(**{"job": job, "report": Report(counts=counts)} | nothing | more)


def large():
    """As much as a page may have to show."""
    dice = random.Random(1)
    stretches = [
        Stretch(
            NOON + 3.0 * n + 7200 * (n > 900), 3.0, dice.randrange(40, 60), 60, dice.randrange(9), dice.randrange(5)
        )
        for n in range(1800)
    ]
    stretches[300] = stretches[300]._replace(paused=2.9)
    keys = ODD + [f"Shop {n}" for n in range(90)]
    ids = tuple(range(10**12, 10**12 + 40))
    shown = {
        status: [outcome(n, status, key, id=1, others=ids) for n, key in enumerate(keys)]
        for status in OutcomeStatus
        if not status.ok
    }
    return history_of(
        {status: 123_456 for status in OutcomeStatus if status in html_report._STATUSES},
        in_flight=7,
        runs=[JournaledRun(NOON, None, "provision", ODD[0]), JournaledRun(NOON + 9900, NOON + 12_600, "undo", "b.csv")],
        stretches=stretches,
        doubts={how: Doubts(1234, 1.5, 4000.0) for how in Settled},
        slowest=[Row(n, key, status=None, took=80.0 - n, ended=NOON) for n, key in enumerate(ODD)],
        differing={("is_active", "<b>"): 1234},
        shown=shown,
    )


class Read(HTMLParser):
    """Every element with its attributes, and all text."""

    def __init__(self, written):
        super().__init__()
        self.elements, self.text = [], ""
        self.feed(written.decode())

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


PAGES = {
    "large": large,
    "nothing": history_of,
    "begun": lambda: history_of(runs=[JournaledRun(NOON, None, "undo", None)]),
}


@pytest.fixture(params=PAGES)
def history(request):
    return PAGES[request.param]()


class TestPage:
    def test_it_loads_nothing_and_runs_nothing(self, history):
        written = page(history, "run.db")
        read = Read(written)
        tags = {tag for tag, _ in read.elements}
        assert not tags & {"script", "link", "img", "iframe", "object", "embed", "base", "form", "a", "use", "image"}
        for _, attributes in read.elements:
            assert not any(name.startswith("on") or name in {"src", "href", "style", "action"} for name in attributes)
        assert not re.search(rb"url\(|@import|//(?!www\.w3\.org/2000/svg|clarus\.test)", written)
        policies = [a["content"] for _, a in read.elements if a.get("http-equiv") == "Content-Security-Policy"]
        assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]

    def test_a_key_is_shown_as_text_whatever_it_is(self):
        written = page(large(), "run.db").decode()
        read = Read(written.encode())
        for key in ODD:
            shown = html_report.element("p", key).text or "(no key)"
            assert shown[:150] in read.text
        assert not re.search(r"[\x00-\x09\x0b-\x1f\u202a-\u202e\u2066-\u2069]", written)
        assert "<script" not in written
        assert "x" * 400 not in written

    def test_its_drawings_are_well_formed_and_told_in_words(self):
        written = page(large(), "run.db").decode()
        drawings = re.findall(r"<svg.*?</svg>", written, re.DOTALL)
        assert len(drawings) == 5
        for drawing in drawings:
            root = ET.fromstring(drawing)
            assert root.attrib["role"] == "img"
            assert root.attrib["aria-label"]
        titles = [ET.fromstring(drawing)[0].text for drawing in drawings]
        assert {"Records finished, per second", "Requests, per second"} < {*titles}
        assert written.count("<details>") >= 1
        assert '<th scope="col" class="n">Refused</th>' in written

    def test_what_stands_there(self):
        text = Read(page(large(), "/tmp/run.db")).text
        for needed in (
            "123,456", "need a look", "was cut off after 2026-01-10", "1000000000000, 1000000000001", "and 29 more",
            "clarus report --status conflict lists all", "A dashed line is where the next run began", "from run.db",
            "is_active", "1 h 6 min", "7 of these were just being sent", time.strftime("%Z", time.localtime(NOON)),
        ):  # fmt: skip
            assert needed in text

    def test_every_status_and_every_way_has_its_words(self):
        # What a dry run says is in no journal.
        assert {s.value for s in OutcomeStatus if not s.startswith("would_")} <= {*html_report._STATUSES}
        assert {*Settled} == {*html_report._WORDS["settled"]}
        assert all(html_report._STATUSES[status]["next"] for status in OutcomeStatus if not status.ok)

    def test_a_journal_of_an_earlier_release_has_no_times_and_no_drawing_of_them(self):
        written = page(history_of({OutcomeStatus.CREATED: 2}), "run.db").decode()
        assert "An earlier release began this journal, and kept none" in written
        assert written.count("<svg") == 1

    def test_it_stays_small(self):
        assert len(page(large(), "run.db")) < 500_000

    def test_a_run_that_was_cut_off_is_told_so(self):
        assert "cut off before it had come to its end" in Read(page(PAGES["begun"](), "run.db")).text
        assert "cut off" not in Read(page(history_of(), "run.db")).text

    def test_nothing_has_been_done(self):
        assert "Nothing has been done yet." in Read(page(history_of(), "run.db")).text


class TestFile:
    def test_it_is_its_owner_s_and_replaces_only_a_page(self, tmp_path):
        path = tmp_path / "report.html"
        for _ in range(2):
            write_page(str(path), history_of(), "run.db")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert [path] == [*tmp_path.iterdir()]
        path.write_text("<!doctype html>\nsomebody's")
        with pytest.raises(ConfigurationError, match="is no report; take another name"):
            write_page(str(path), history_of(), "run.db")
        with pytest.raises(ConfigurationError, match="is no report"):
            write_page(str(tmp_path), history_of(), "run.db")

    def test_nothing_is_left_where_it_can_not_be_written(self, tmp_path, monkeypatch):
        def full(*args):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "replace", full)
        with pytest.raises(OSError, match="No space left") as raised:
            write_page(str(tmp_path / "report.html"), history_of(), "run.db")
        assert raised.value.filename == str(tmp_path / "report.html")
        assert [*tmp_path.iterdir()] == []


class TestChart:
    def test_a_pause_comes_after_what_was_sent(self):
        bins = binned([Stretch(NOON, 10.0, 20, 24, 4, 0, 8.0), Stretch(NOON + 10, 2.0, 4, 4)], 12)
        assert [round(one.requests) for one in bins] == [12, 12, *[0] * 8, 2, 2]
        assert [round(one.paused, 3) for one in bins] == [0, 0, *[1.0] * 8, 0, 0]
        assert [one.at - NOON for one in bins] == pytest.approx(range(12))

    @pytest.mark.parametrize("seconds", [0.001, 1.0, 59.0, 3600.0, 86400.0, 40 * 86400.0])
    def test_its_times_of_day_stand_apart_and_within(self, seconds):
        made = chart("Pace", "", {"good": lambda one: one.requests}, [Stretch(NOON, seconds, 1, 50)], [], "narrow")
        places = [float(text.get("x")) for text in made.iter("text") if text.get("text-anchor") == "middle"]
        assert all(b - a > 30 for a, b in itertools.pairwise(places))
        assert all(44 < place < 330 for place in places)
        for bar in made.iter("rect"):
            assert float(bar.get("y")) >= 7.9
            assert float(bar.get("height")) + float(bar.get("y")) <= 164.2


CONTRAST = """
[...document.querySelectorAll("h1, p, td, th, dt, dd, summary, figcaption")].map(e => {
  const rgb = c => c.match(/[\\d.]+/g).map(Number);
  let b = e; while (getComputedStyle(b).backgroundColor == "rgba(0, 0, 0, 0)") b = b.parentElement;
  const l = c => rgb(c).slice(0, 3).map(v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((s, v, i) => s + v * [.2126, .7152, .0722][i], 0);
  const [x, y] = [l(getComputedStyle(e).color), l(getComputedStyle(b).backgroundColor)].sort((a, b) => b - a);
  return (x + .05) / (y + .05);
}).reduce((a, b) => Math.min(a, b))
"""


SHOWN = "[...document.querySelectorAll('svg.wide, svg.narrow')].filter(e => e.clientHeight).length"
TOO_WIDE = """
[...document.querySelectorAll("details")].forEach(e => e.open = true);
[...document.querySelectorAll(".scroll")].filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.innerText)
"""
RED = "Number(getComputedStyle(document.body).backgroundColor.match(/[0-9]+/)[0])"


@needs_chromium
async def test_in_a_browser(tmp_path):
    pages = {name: tmp_path / f"{name}.html" for name in PAGES}
    for name, path in pages.items():
        path.write_bytes(page(PAGES[name](), "run.db"))
    async with browser() as tab:
        for (name, path), width, scheme in itertools.product(pages.items(), (390, 1280), ("light", "dark")):
            await tab.show(path, width, scheme)
            assert await tab.run("document.documentElement.scrollWidth") <= width, (name, width)
            assert await tab.run(TOO_WIDE) == [], (name, width)
            assert (await tab.run(RED) < 60) == (scheme == "dark")
            assert await tab.run(CONTRAST) >= 4.5, (name, scheme)
            assert await tab.run(SHOWN) == (2 if name == "large" else 0)
        requests = {params["request"]["url"] for method, params in tab.heard if method == "Network.requestWillBeSent"}
        assert requests == {path.as_uri() for path in pages.values()}
        assert not [params for method, params in tab.heard if method in {"Log.entryAdded", "Runtime.exceptionThrown"}]
