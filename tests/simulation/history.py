"""What is kept of a world: what was asked, how it ended, and everything that went over the wire, sorted."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from datetime import timedelta
from typing import Any

import attrs

from clarus_async import Outcome
from clarus_async.reconcile.decide import CLOCK_MARGIN
from clarus_async.retry.effect import NEVER_SENDABLE, NoResponse
from clarus_async.simulator import Simulator, StoredRecord
from clarus_async.simulator.log import LoggedRequest
from tests.simulation.plan import Act, Plan
from tests.simulation.subject import SUBJECTS
from tests.simulation.tap import MARK, Attempt, Tap
from tests.support.virtual_world import VirtualDate

_NOT_SENT = frozenset(seen.value for seen in (NoResponse.NO_CONNECTION, NoResponse.WITHHELD, *NEVER_SENDABLE))


@attrs.define(eq=False, kw_only=True)
class Op:
    """Something that was asked of the client, and how it ended."""

    number: int  # its place among all
    life: int
    tenant: str
    act: Act
    what: str  # the act's, or ``resolve``, or ``job``
    target: int | None = None  # the id that it was asked for
    began: float = 0.0
    ended: float | None = None  # when; ``None``: never
    result: Any = None
    error: BaseException | None = None
    cancelled_at: float | None = None  # when it was told to stop
    crashed: bool = False  # its process ended

    def __str__(self) -> str:
        ended = f"{type(self.error).__name__}: {self.error}" if self.error is not None else repr(self.result)
        return f"op {self.number} {self.what} {self.act.marker} for {self.tenant}, {self.began:.6f} on: {ended}"


@attrs.define(eq=False, kw_only=True)
class Given:
    """An outcome of a run, and when it came."""

    outcome: Outcome
    at: float
    life: int


@attrs.define(eq=False, kw_only=True)
class History:
    """Everything that happened in a world."""

    plan: Plan
    tap: Tap
    sim: Simulator
    ops: list[Op] = attrs.field(factory=list)
    given: list[list[Given]] = attrs.field(factory=list)
    """Of each start of the run, in order."""
    done: bool = False
    troubles: list[str] = attrs.field(factory=list)
    seconds: float = 0.0

    @property
    def digest(self) -> str:
        """What is the same for the same seed."""
        return hashlib.sha256("\n".join(self.tap.trace).encode()).hexdigest()[:16]


class Facts:
    """What happened, sorted by what it belongs to."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.plan = history.plan
        self.subject = SUBJECTS[self.plan.resource]
        self.attempts = history.tap.attempts
        self.logged: dict[int, LoggedRequest] = {
            int(entry.headers[MARK]): entry for entry in history.sim.requests if MARK in entry.headers
        }
        self.of_op: defaultdict[int, list[Attempt]] = defaultdict(list)
        self.of_marker: defaultdict[str, list[Attempt]] = defaultdict(list)
        for attempt in self.attempts:
            self.of_op[attempt.op].append(attempt)
            if attempt.marker is not None and attempt.method == "POST":
                self.of_marker[attempt.marker].append(attempt)
        self.stored: defaultdict[str, list[StoredRecord]] = defaultdict(list)
        for tenant in history.plan.tenants:
            for record in (record for record in history.sim.created(tenant, self.plan.resource) if record.send):
                self.stored[record.attributes["external_system_reference2"]].append(record)

    def ids(self, marker: str) -> set[int]:
        """What the server stored of a record, ever."""
        return {record.id for record in self.stored[marker]}

    def applied(self, attempt: Attempt) -> float | None:
        """When the server did what a request asks for; ``None``: it never did."""
        entry = self.logged.get(attempt.number)
        return None if entry is None else entry.applied_at

    def too_late(self, attempt: Attempt) -> bool:
        """Whether the server did it later than ``settle``: what a client says by then may be wrong."""
        at = self.applied(attempt)
        return at is not None and attempt.ended is not None and at > attempt.ended + self.plan.timeouts.settle

    @property
    def names_that_came_too_late(self) -> set[str]:
        """The names of records that the server stored later than ``settle``."""
        late = {marker for marker, sent in self.of_marker.items() if any(map(self.too_late, sent))}
        return {self.subject.name_of(record) for marker in late for record in self.stored[marker]}

    def mistakable(self, op: Op) -> set[int]:
        """What another process made under the same name right before a create was sent: it can't be told from ours."""
        sent = self.of_marker[op.act.marker]
        if op.what not in {"create", "resolve"} or not sent:
            return set()
        since = VirtualDate.started + timedelta(seconds=sent[0].started - CLOCK_MARGIN - 1.0)
        return {
            record.id
            for marker, records in self.stored.items()
            for record in records
            if self.subject.name_of(record) == op.act.name and record.created_at >= since
            if all(attempt.life != op.life for attempt in self.of_marker[marker])
        }

    def writes(self, op: Op) -> list[Attempt]:
        """The requests of an operation that would change something."""
        if op.what == "resolve":
            return self.of_marker[op.act.marker]
        return [attempt for attempt in self.of_op[op.number] if attempt.path.startswith("/api/")]


def proves_that_nothing_was_done(attempt: Attempt) -> bool:
    """Said once more, apart from the client's own table (the contract, section 3)."""
    if isinstance(attempt.result, int):
        return 300 <= attempt.result < 500 and attempt.result != 408
    return attempt.result in _NOT_SENT
