"""One create through any order of faults, looks, crashes and late applies: the promise holds.

The model is a server, and what of a record outlives a crash; the decisions are the library's.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from clarus_async import Applied
from clarus_async.provisioning.job_index import restore
from clarus_async.provisioning.journal.rows import Row
from clarus_async.reconcile.decide import (
    CLOCK_MARGIN,
    Conclusion,
    Fate,
    SendAgain,
    decide,
    lookup_result,
)
from clarus_async.reconcile.pending import InDoubt, LookupKey, PendingCreate
from clarus_async.resources.integrations import IntegrationRow

SETTLE = 60.0
MOST = 4
MOST_STALE = 20.0
BEGAN = datetime(2026, 1, 10, 12, tzinfo=UTC)

events = st.sampled_from(["goes on"] * 7 + ["a look fails", "a crash", "another create"])
olds = st.lists(st.floats(5.0, 1e6), max_size=2)
fates = st.sampled_from([
    "lost", "lost", "lost and applied", "lost and applied", "lost and applied late", "lost and applied late",
    "answered", "unreadable", "unreadable and not so", "refused", "never leaves",
])  # fmt: skip
waits = st.sampled_from([0.0, 0.0, 1.0, 15.0, 45.0, 90.0])
staleness = st.sampled_from([0.0, 0.0, 1.0, MOST_STALE])
in_time = st.sampled_from([0.0, 0.1, 10.0, SETTLE - MOST_STALE])
too_late = st.sampled_from([SETTLE + 1.0, 1.5 * SETTLE, 2 * SETTLE])


class Server:
    """What is stored, by whom, and from when on it is there."""

    def __init__(self) -> None:
        self.stored: list[tuple[float, int, str]] = []

    def store(self, at: float, owner: str) -> int:
        number = len(self.stored) + 1
        self.stored.append((at, number, owner))
        return number

    def of(self, owner: str, by: float = math.inf) -> set[int]:
        return {number for at, number, whose in self.stored if whose == owner and at <= by}

    def rows(self, by: float) -> list[IntegrationRow]:
        return [
            IntegrationRow(id=number, name="Shop", created_at=self._told(BEGAN + timedelta(seconds=at)))
            for at, number, _ in self.stored
            if at <= by
        ]

    @staticmethod
    def _told(at: datetime) -> datetime:
        # Whole seconds, and never a whole minute, which might be one that is cut to minutes.
        return at.replace(microsecond=0, second=at.second or 1)


class OneCreate(RuleBasedStateMachine):
    """A record that is created by a client which may crash, on a server that may do anything but break its word."""

    late = False

    @initialize(old=olds, looks_before=st.booleans())
    def begin(self, old, looks_before):
        self.now = self.began = 1000.0
        self.server = Server()
        for ago in old:
            self.server.store(self.now - ago, "old")
        seen = frozenset(self.server.of("old")) if looks_before else None
        self.in_doubt = InDoubt(seen=seen)
        self.first_sent = None
        self.tries = 0
        self.looked = None
        self.look_saw = -math.inf
        self.end = None
        self.lied = False
        self.rival = False
        self.rival_in_doubt = False
        self.given: set[int] = set()
        # What is sent is on the disk before the first byte, and what became of it is not.
        self.row = Row(1, "Shop", seen=None if seen is None else sorted(seen), sent=self.wall(self.now).timestamp())

    @staticmethod
    def wall(at):
        return BEGAN + timedelta(seconds=at)

    # One rule, as of several hypothesis leaves some out of each example, and so most of what has to come together.
    @rule(
        event=events,
        fate=fates,
        seconds=waits,
        after=in_time,
        too_late=too_late,
        stale=staleness,
        old=olds,
        looks_before=st.booleans(),
    )
    def something_happens(self, event, fate, seconds, after, too_late, stale, old, looks_before):
        if self.end is not None:
            self.begin(old, looks_before)
        elif event == "another create":
            self.another_of_its_name_begins_or_ends(fate, after)
        elif event == "a crash" and self.tries:
            self.a_crash(seconds, fate, after)
        elif self.sends():
            self.a_send(fate, min(seconds, 30.0), after, too_late)
        else:
            self.a_look(seconds, event == "a look fails", stale)

    # --- others of its name

    def another_of_its_name_begins_or_ends(self, ends, after):
        if not self.rival:
            self.rival = True
            return
        self.rival = False
        if ends in {"answered", "unreadable"}:
            self.given.add(self.server.store(self.now, "rival"))
        elif ends.startswith("lost"):
            self.server.store(self.now + after, "rival")
            self.rival_in_doubt = True

    # --- what the client does

    def decided(self):
        if self.in_doubt.sends == 0 and self.tries == 0:
            return SendAgain()
        return decide(self.in_doubt, self.looked, SETTLE, may_send_again=self.tries < MOST)

    def settle_if_decided(self):
        step = self.decided()
        if isinstance(step, Conclusion):
            self.end = step

    def sends(self):
        return isinstance(self.decided(), SendAgain)

    def send(self):
        assert self.in_doubt.applied is not Applied.YES
        self.row = self.row._replace(sends=self.in_doubt.sends + 1)
        self.tries += 1
        self.looked = None
        self.first_sent = self.now if self.first_sent is None else self.first_sent

    def a_send(self, fate, takes, after, too_late):
        self.send()
        if fate == "unreadable and not so":
            # A 200 that a proxy made up.
            self.now += takes
            self.lied = True
            self.in_doubt.sent(Applied.YES, self.now)
        elif fate in {"answered", "unreadable"}:
            number = self.server.store(self.now, "ours")
            self.now += takes
            self.in_doubt.sent(Applied.YES, self.now, number if fate == "answered" else None)
        elif fate in {"lost", "lost and applied", "lost and applied late"}:
            self.now += takes
            if fate == "lost and applied":
                self.server.store(self.now + after, "ours")
            elif fate == "lost and applied late" and self.late:
                self.server.store(self.now + too_late, "ours")
            self.in_doubt.sent(Applied.MAYBE, self.now)
        elif fate == "refused":
            self.in_doubt.refused = True
        self.settle_if_decided()

    def a_look(self, waits, fails, stale):
        self.now = max(self.now, self.decided().at) + waits
        if fails:
            return
        self.look_saw = self.now - stale
        # The first send is dated by a clock that is cut to whole seconds.
        not_before = None if self.first_sent is None else self.wall(self.first_sent).replace(microsecond=0)
        self.looked = lookup_result(
            self.server.rows(self.look_saw),
            self.in_doubt,
            at=self.now,
            given=self.given - {self.in_doubt.answered_id},
            contested=self.rival or self.rival_in_doubt,
            not_before=not_before,
        )
        self.settle_if_decided()

    def a_crash(self, off_for, on_the_wire, after):
        if self.sends():
            # On the wire, or about to be.
            self.send()
            if on_the_wire == "lost and applied":
                self.server.store(self.now + after, "ours")
        self.now += off_for
        pending = PendingCreate("integrations", [LookupKey("name", "Shop", "name")], "")
        restore(pending, self.row, self.now, same=True)
        self.in_doubt, self.looked = pending.in_doubt, None
        self.tries = max(1, self.in_doubt.sends)
        self.first_sent = self.began
        # Others of the same job are in its journal: their ids, or that they are in doubt.
        self.rival, self.rival_in_doubt = False, self.rival or self.rival_in_doubt

    # --- the promise

    @invariant()
    def at_most_one_is_ours(self):
        if not self.late:
            assert len(self.server.of("ours")) <= 1

    @invariant()
    def what_is_said_is_so(self):
        if self.end is None:
            return
        fate, ids, _ = self.end
        ours = self.server.of("ours")
        if fate is Fate.THERE:
            assert set(ids) <= ours
            if not self.late:
                assert set(ids) == ours
        elif fate is Fate.ABSENT:
            assert not ours or self.late
        elif fate is Fate.SEVERAL:
            assert len(ids) > 1
            assert set(ids) <= ours
        else:
            assert self.excused()

    @invariant()
    def what_the_last_look_could_see_is_named(self):
        if self.end is not None and self.end.fate is not Fate.ABSENT:
            assert self.server.of("ours", by=self.look_saw) <= set(self.end.ids) | {self.in_doubt.answered_id}

    @invariant()
    def what_was_sent_twice_was_looked_up_a_last_time(self):
        if self.end is not None and self.in_doubt.sends > 1:
            assert self.looked is not None
            assert self.looked.at >= self.in_doubt.given_up + SETTLE

    def excused(self):
        # Another create of its name, or a server that says what is not so: said plainly, with every id.
        return self.rival or self.rival_in_doubt or self.lied


class OneCreateOnASlowServer(OneCreate):
    """The same where the server may apply a send after the time that it has for that."""

    late = True


TestInTime = OneCreate.TestCase
TestInTime.settings = settings(max_examples=100, stateful_step_count=20, deadline=None)
TestTooLate = OneCreateOnASlowServer.TestCase
TestTooLate.settings = settings(max_examples=100, stateful_step_count=20, deadline=None)


def test_the_margin_is_that_of_the_model():
    # Old records of the model are older than any that a clock may take for ours.
    assert CLOCK_MARGIN + 1.0 < 5.0
