"""The page of a report: one file that loads nothing, for whoever the records belong to.

It holds keys, ids, counts and times, and the server's reasons; never what else a record has. A key may be any text:
``element`` writes it so that it can't be more than that.
"""

from __future__ import annotations

import os
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

from clarus_async._version import __version__
from clarus_async.cli.time_chart import chart, element
from clarus_async.errors import ConfigurationError
from clarus_async.provisioning.journal.timeline import Settled, binned
from clarus_async.provisioning.report import OutcomeStatus
from clarus_async.provisioning.review import History

_HEAD: Final = b'<!doctype html>\n<html lang="en" data-made-by="clarus report">'
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
_LONGEST: Final = 160  # characters of a key, and twice as many of a reason: what is longer is cut
_MOST_IDS: Final = 12
_AT_FIRST: Final = 10  # rows of a long table; the others are unfolded
_LONG_PAUSE: Final = 1.0  # seconds; shorter ones are how a rate is kept
_MOST_ROWS: Final = 24  # of a table that may be of any length

_FILES: Final = files("clarus_async.cli")
_WORDS: Final[dict[str, dict[str, Any]]] = tomllib.loads(_FILES.joinpath("report.toml").read_text())
_STATUSES: Final = _WORDS["statuses"]


def write_page(path: str, history: History, journal: str) -> None:
    """Write a page, whole or not at all. Only its owner can read it, as the journal: it names a customer's records.

    Raises:
        ConfigurationError: the file is there, and is no such page.
        OSError: it can't be written.
    """
    target = Path(path).resolve()
    if target.exists() and not (target.is_file() and _begins_as_one(target)):
        raise ConfigurationError(f"--html {path}: is there already, and is no report; take another name")
    content, unfinished = page(history, journal), ""
    try:
        descriptor, unfinished = tempfile.mkstemp(dir=target.parent, prefix=".clarus-report.")
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(unfinished).replace(target)
    except OSError as error:
        error.filename = path
        Path(unfinished or target.parent / ".clarus-report").unlink(missing_ok=True)
        raise


def _begins_as_one(target: Path) -> bool:
    with target.open("rb") as file:
        return file.read(len(_HEAD)) == _HEAD


def page(history: History, journal: str) -> bytes:
    """Return the page of a journal."""
    job = history.job
    title = f"{_title(job['operation'])} of {job['resource'].replace('_', ' ')}: {job['tenant']}"
    style = element("style")
    style.text = _FILES.joinpath("report.css").read_text()
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        style,
    )
    made = _says("made", now=_when(time.time()), version=__version__, journal=Path(journal).name)
    sections = (_sums(history, title), *(of(history) for of in (_runs, _trouble, _differing, _pace, _doubt, _slowest)))
    body = element("body", element("main", *filter(None, sections)), element("footer", element("p", made)))
    texts = (ET.tostring(part, encoding="unicode", method="html") for part in (head, body))
    return _HEAD + "\n".join(("", *texts, "</html>\n")).encode()


def _sums(history: History, title: str) -> ET.Element:
    report, stretches, total = history.report, history.stretches, history.report.total
    counts = {status: count for status, count in report.counts.items() if count}
    verdict = "trouble" if not report.ok else "well" if total else "nothing"
    rects, done = [], 0
    for status, count in counts.items():
        rects.append(element("rect", class_=_STATUSES[status]["colour"], x=done, y=0, width=count, height=1))
        done += count
    share = ", ".join(f"{_STATUSES[status]['name']} {count:,}" for status, count in counts.items())
    bar = element(
        "svg", element("title", share), *rects, class_="share", viewBox=f"0 0 {max(1, total)} 1", role="img",
        aria_label=share, preserveAspectRatio="none",
    )  # fmt: skip
    rows = [(_name(s), f"{count:,}", f"{count / total:.1%}", _STATUSES[s]["means"]) for s, count in counts.items()]
    facts = {"Account": history.job["tenant"], "Server": history.job["base_url"]}
    if sources := [*dict.fromkeys(run.source for run in history.runs if run.source)]:
        facts["File"] = ", ".join(sources[-3:])
    if stretches:
        facts |= {
            "Began": _when(history.runs[0].began),
            "Last at work": _when(stretches[-1].until),
            "Time at work": _long(sum(one.seconds for one in stretches)),
            "Requests": f"{sum(one.requests for one in stretches):,}",
        }
    elif total:
        facts["Times"] = _says("no_times")
    return element(
        "section",
        element("h1", title),
        element(
            "p",
            _says(verdict, total=total, not_ok=report.not_ok, well=total - report.not_ok),
            class_=f"verdict {'trouble' if history.cut_off else verdict}",
        ),
        *([element("p", _says("cut_off"))] if history.cut_off else []),
        *((bar, _table(("Outcome", "#Records", "#Share", "Meaning"), rows)) if total else ()),
        element("dl", *(element("div", element("dt", k), element("dd", _text(v))) for k, v in facts.items())),
    )


def _runs(history: History) -> ET.Element | None:
    runs, rows = history.runs, []
    if not runs or (len(runs) == 1 and runs[0].ended is not None):
        return None
    for number, run in enumerate(runs, 1):
        following = runs[number].began if number < len(runs) else float("inf")
        seen = [one.until for one in history.stretches if run.began - 1 <= one.at < following]
        end = "was cut off" + (f" after {_when(seen[-1])}" if seen else "") if run.ended is None else _when(run.ended)
        rows.append((str(number), _title(run.what), _when(run.began), end))
    return _section("Runs", _says("runs"), _table(("Run", "What", "Began", "Ended"), rows[-_MOST_ROWS:]))


def _trouble(history: History) -> ET.Element | None:
    parts: list[Any] = []
    for status, outcomes in history.shown.items():
        rows = []
        for one in outcomes:
            ids = [str(i) for i in dict.fromkeys((one.id, *one.others)) if i is not None]
            more = f" and {len(ids) - _MOST_IDS:,} more" if len(ids) > _MOST_IDS else ""
            reason = _text("" if one.error is None else one.error.message, 2 * _LONGEST)
            rows.append((_key(one.key), ", ".join(ids[:_MOST_IDS]) + more, reason))
        heads, count = ("Record", "Ids in Clarus", "Why"), history.report.counts[status]
        parts += [element("h3", _name(status), f" ({count:,})"), _STATUSES[status].get("next", "")]
        parts.append(_table(heads, rows[:_AT_FIRST]))
        if rest := rows[_AT_FIRST:]:
            parts.append(element("details", element("summary", f"{len(rest):,} more"), _table(heads, rest)))
        if status is OutcomeStatus.UNRESOLVED and history.in_flight:
            parts.append(_says("in_flight", in_flight=history.in_flight))
        if count > len(outcomes):
            parts.append(_says("more", shown=len(outcomes), count=count, status=status))
    return _section("What needs a look", *parts) if parts else None


def _differing(history: History) -> ET.Element | None:
    names = Counter[str]()
    for attributes, records in history.differing.items():
        names.update(dict.fromkeys(attributes, records))
    says = _says("differing", count=sum(history.differing.values()))
    rows = [(_text(name), f"{count:,}") for name, count in names.most_common(_MOST_ROWS)]
    return _section("What differs from the file", says, _table(("Attribute", "#Records"), rows)) if rows else None


def _pace(history: History) -> ET.Element | None:
    stretches, runs = history.stretches, history.runs
    if not stretches:
        return None
    _, seconds, records, _, refused, unclear, paused = map(sum, zip(*stretches, strict=True))
    says = _says("pace", rate=records / max(seconds, 1.0), refused=refused, unclear=unclear)
    signs = {"answered": "good", "refused, as too fast": "warn", "no clear answer": "bad"}
    sent = {
        "good": lambda one: one.requests - one.refused - one.unclear,
        "warn": lambda one: one.refused,
        "bad": lambda one: one.unclear,
    }
    parts: list[Any] = [says]
    for title, layers, legend in (
        ("Records finished, per second", {"known": lambda one: one.records}, {}),
        ("Requests, per second", sent, signs),
    ):
        shown = [_sign(colour, text) for text, colour in (legend | ({"paused": "paused"} if paused else {})).items()]
        drawn = (chart(title, says, layers, stretches, runs, size) for size in ("wide", "narrow"))
        parts.append(element("figure", element("figcaption", title, ". ", *shown), *drawn))
    if len(runs) > 1:
        parts.append(_says("dashed"))
    rows = [
        (_when(one.at), *(f"{count:,.0f}" for count in one[2:6]), _long(one.paused) if one.paused else "")
        for one in binned(stretches, _MOST_ROWS)
    ]
    table = _table(("From", "#Records", "#Requests", "#Refused", "#Unclear", "#Paused"), rows)
    parts.append(element("details", element("summary", "The same in figures"), table))
    if longest := sorted((one for one in stretches if one.paused >= _LONG_PAUSE), key=lambda one: -one.paused)[:8]:
        rows = [(_when(one.at), _when(one.until), _long(one.paused)) for one in sorted(longest)]
        says = _says("pauses", paused=_long(paused))
        parts += [element("h3", "Pauses"), says, _table(("Between", "And", "#Paused"), rows)]
    return _section("Pace", *parts)


def _doubt(history: History) -> ET.Element | None:
    rows = [
        (text, f"{found.records:,}", *("" if t is None else _long(t) for t in (found.typical, found.longest)))
        for how, text in _WORDS["settled"].items()
        if (found := history.doubts.get(Settled(how))) is not None
    ]
    heads = "What came of it", "#Records", "#Half within", "#All within"
    return _section("Answers that were lost", _says("doubt"), _table(heads, rows)) if rows else None


def _slowest(history: History) -> ET.Element | None:
    rows = []
    for row in history.slowest:
        ended = "" if row.ended is None else _when(row.ended)
        rows.append((_key(row.key), _long(row.took or 0.0), _name(row.status or "unresolved"), ended))
    heads = "Record", "#Took", "Outcome", "Ended"
    return _section("Slowest records", _says("slowest"), _table(heads, rows)) if rows else None


# --- parts of a page


def _says(name: str, **facts: Any) -> str:  # noqa: ANN401
    text: str = _WORDS["says"][name]
    return text.format(**facts)


def _title(operation: str) -> str:
    title: str = _WORDS["titles"].get(operation, operation.capitalize())
    return title


def _section(title: str, *parts: Any) -> ET.Element:  # noqa: ANN401
    paragraphs = (element("p", part) if isinstance(part, str) else part for part in parts)
    return element("section", element("h2", title), *paragraphs)


def _table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> ET.Element:
    """Build a table; a head that begins with # is that of numbers."""
    kinds = [{"class_": "n"} if head.startswith("#") else {} for head in heads]
    head = (element("th", text.lstrip("#"), scope="col", **kind) for text, kind in zip(heads, kinds, strict=True))
    lines = (element("tr", *(element("td", c, **k) for c, k in zip(row, kinds, strict=True))) for row in rows)
    table = element("table", element("thead", element("tr", *head)), element("tbody", *lines))
    return element("div", table, class_="scroll")


def _sign(colour: str, text: str) -> ET.Element:
    return element("span", element("span", class_=f"dot {colour}"), text, class_="sign")


def _name(status: str) -> ET.Element:
    return _sign(_STATUSES[status]["colour"], _STATUSES[status]["name"])


def _text(text: str, most: int = _LONGEST) -> ET.Element:
    """Build a text of unknown origin: whichever way it runs, what stands around it does not."""
    return element("bdi", text[:most] + "…" if len(text) > most else text)


def _key(key: str) -> ET.Element:
    return element("div", _text(key or "(no key)"), class_="key")


def _when(at: float) -> str:
    return f"{datetime.fromtimestamp(at).astimezone():%Y-%m-%d %H:%M:%S %Z}"


def _long(seconds: float) -> str:
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "min"), (seconds, "s"))
    return " ".join([f"{count:,} {unit}" for count, unit in parts if count][:2])
