"""The soak's judge finds every promise that a ledger shows to be broken."""

from __future__ import annotations

import asyncio
import json

import pytest

from clarus_async.events import TokenEvent
from tests.chaos.soak import Refreshes
from tests.chaos.soak_calls import Verdict
from tests.support.virtual import virtual

LEDGER = [["acme", "A", 1, False, "text"], ["acme", "B", 2, True, None]]


def judged(tmp_path, *told, ledger=LEDGER):
    file = tmp_path / "told"
    asked = [("create", "acme", "A", 1), ("create", "acme", "B", 2)]
    file.write_text("".join(json.dumps(line) + "\n" for line in (*asked, *told)))
    verdict = Verdict(ledger)
    verdict.judge(file)
    return dict(verdict.broken)


def test_what_agrees_breaks_nothing(tmp_path):
    told = [
        ("create", "acme", "C", "no"), ("create", "globex", "A", "no"), ("update", "acme", 1, "text", "done"),
        ("update", "acme", 2, "x", "no"), ("update", "acme", 2, "x", "maybe"), ("delete", "acme", 2, "done"),
        ("delete", "acme", 1, "maybe"), ("delete", "acme", 1, "no"),
    ]  # fmt: skip
    assert judged(tmp_path, *told) == {}


@pytest.mark.parametrize(
    ("told", "promise"),
    [
        (("create", "acme", "C", 3), "lost"),
        (("create", "acme", "A", "no"), "there though it was said not to be"),
        (("create", "acme", "C", "unresolved"), "unresolved"),
        (("update", "acme", 1, "other", "done"), "update"),
        (("update", "acme", 1, "text", "no"), "update"),
        (("delete", "acme", 1, "done"), "delete"),
        (("delete", "acme", 2, "no"), "delete"),
    ],
)
def test_what_does_not_agree_breaks_a_promise(tmp_path, told, promise):
    assert judged(tmp_path, told) == {promise: 1}


def test_what_is_there_twice_or_nobody_s(tmp_path):
    ledger = [*LEDGER, ["acme", "A", 3, False, None], ["globex", "Z", 4, False, None]]
    assert judged(tmp_path, ledger=ledger) == {"duplicate": 1, "nobody's": 1}


@pytest.mark.parametrize(("duration", "overlapping"), [(1.0, 0), (3.0, 1)])
def test_refreshes_at_the_same_time_are_counted(duration, overlapping):
    @virtual
    async def check():
        refreshes = Refreshes()
        await asyncio.sleep(5.0)
        refreshes.on_event(TokenEvent(2.0, None, None))
        await asyncio.sleep(2.0)
        refreshes.on_event(TokenEvent(duration, None, None))
        assert (refreshes.count, refreshes.overlapping) == (2, overlapping)

    check()
