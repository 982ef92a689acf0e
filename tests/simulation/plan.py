"""What a seed decides: settings, what goes wrong and when, and who asks for what. Nothing here runs."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs

from clarus_async import PacingPolicy, RetryPolicy, Timeouts
from clarus_async.simulator import Endpoint, Fault, FaultKind, Quota

LENGTH: Final = 40.0  # seconds in which everything begins
SLACK: Final = 2.0  # seconds by which an apply is clearly within settle, or clearly later

_BEFORE_OR_AFTER: Final = (
    FaultKind.RESET_BEFORE, FaultKind.RESET_AFTER, FaultKind.ERROR_BEFORE, FaultKind.ERROR_AFTER,
    FaultKind.TRUNCATED, FaultKind.NOT_JSON, FaultKind.HTML_502,
)  # fmt: skip
_KINDS: Final = (
    *_BEFORE_OR_AFTER, *_BEFORE_OR_AFTER, FaultKind.LATE_APPLY, FaultKind.LATE_APPLY, FaultKind.STALL_BEFORE,
    FaultKind.GATEWAY_TIMEOUT, FaultKind.GATEWAY_TIMEOUT,
    FaultKind.STALL_AFTER, FaultKind.UNAVAILABLE, FaultKind.UNAVAILABLE, FaultKind.RATE_LIMITED,
    FaultKind.GRAPHQL_ERRORS, FaultKind.ODD_ROWS, FaultKind.STALE_LIST, FaultKind.JSON_API_ERROR,
    FaultKind.UNAUTHORIZED, FaultKind.FORBIDDEN, FaultKind.REDIRECT, FaultKind.REFUSE,
)  # fmt: skip
# These end a whole run by contract, or every call for a while, so there are fewer of them.
_RARE: Final = frozenset({FaultKind.FORBIDDEN, FaultKind.REDIRECT, FaultKind.REFUSE})
_WEIGHTED: Final = ("create",) * 8 + ("update", "update", "delete", "synchronize", "list", "find", "ping")
# What only integrations can have done to them is this to others.
_INSTEAD: Final = {"delete": "update", "synchronize": "find"}
# As they tell of themselves; how they count follows from the seed, too.
_HEADERS: Final = ("none", "retry-after", "x-ratelimit", "ietf")


@attrs.frozen(kw_only=True)
class Act:
    """One thing that a caller does."""

    pause: float  # seconds before it
    what: str
    marker: str  # tells its record from all others; of an update, its value
    name: str = ""
    reference: str | None = None
    cancelled: float | None = None  # seconds after which the caller loses patience
    on_unknown: str = "reconcile"  # of a create
    repeatable: bool = False  # of a synchronization
    resolved: float = 0.0  # seconds after which a create that stays in doubt is resolved


@attrs.frozen(kw_only=True)
class Actor:
    """Somebody who does one thing after the other, for one tenant."""

    tenant: str
    acts: tuple[Act, ...]


@attrs.frozen(kw_only=True)
class Happening:
    """Something that happens to everybody."""

    at: float  # seconds
    what: str  # ``tokens end``, ``quota``, ``clock``, ``faults``, ``outage``, ``crash`` or ``stop``
    value: Any = None


@attrs.frozen(kw_only=True)
class Job:
    """A provisioning run, which is started again until it comes to its end."""

    tenant: str
    at: float  # seconds, when it begins
    names: tuple[str, ...]  # of its records
    references: tuple[str | None, ...]  # of its records, or ``None``
    existing: str  # as the run takes it
    journal: bool
    concurrency: int  # as the run takes it
    there: tuple[int, ...]  # which of its records are there before, by index


@attrs.frozen(kw_only=True)
class Plan:
    """A whole world, before anything happens in it."""

    seed: int
    resource: str
    tenants: tuple[str, ...]
    timeouts: Timeouts
    retry: RetryPolicy
    pacing: PacingPolicy
    max_connections: int
    latency: tuple[float, float]
    token_lifetime: float | None
    searchable: bool
    quota: Quota | None
    faults: tuple[Fault, ...]
    stale: float
    late: bool
    """Whether the server applies some writes later than ``settle``."""
    actors: tuple[Actor, ...]
    job: Job | None
    happenings: tuple[Happening, ...]


def make_plan(seed: int) -> Plan:
    """Decide everything."""
    dice = random.Random(f"world {seed}")
    resource = random.Random(f"resource {seed}").choice(["integrations"] * 3 + ["external_entities"])
    tenants = ("acme", "globex", "initech")[: dice.choice([1, 1, 2, 3])]
    timeouts = _timeouts(dice)
    late = dice.random() < 0.1
    # What is not listed within settle, nobody can settle.
    stale = min(dice.choice([0.0, 0.0, 1.0, 5.0]), timeouts.settle - SLACK)
    faults = _Faults(dice, timeouts, stale, late=late)
    known = dice.random() < 0.2
    job = _job(dice, tenants) if dice.random() < 0.5 else None
    twins = dice.choice([0.0, 0.1, 0.6])
    return Plan(
        seed=seed,
        resource=resource,
        tenants=tenants,
        timeouts=timeouts,
        retry=RetryPolicy(max_attempts=dice.choice([1, 3, 4, 4, 8]), base=dice.choice([0.05, 0.5]), cap=5.0),
        pacing=PacingPolicy(
            rate=dice.choice([5.0, 20.0]) if known else None,
            start=None if known or dice.random() < 0.8 else 10.0,
            scope=dice.choice(["tenant", "tenant", "client"]),
        ),
        max_connections=dice.choice([1, 2, 4, 16]),
        latency=(latency := dice.choice([(0.01, 0.02), (0.02, 0.4), (0.1, 2.0)])),
        token_lifetime=_lifetime(dice, latency[1]),
        searchable=dice.random() < 0.5,
        quota=_quota(dice) if dice.random() < 0.4 else None,
        faults=faults.draw(),
        stale=stale,
        late=late,
        actors=tuple(_actor(dice, n, tenants, timeouts, job, twins, resource) for n in range(dice.randint(1, 5))),
        job=job,
        happenings=_happenings(dice, faults, job),
    )


def _lifetime(dice: random.Random, round_trip: float) -> float | None:
    lifetime = dice.choice([None, 3600.0, 30.0, 12.0, 3.0, 1.0])
    # Nobody can use a token that has died by the time its request arrives.
    return None if lifetime is None else max(lifetime, 2.0 * round_trip)


def _timeouts(dice: random.Random) -> Timeouts:
    attempt = dice.choice([3.0, 10.0, 30.0])
    return Timeouts(
        connect=dice.choice([1.0, 5.0]),
        attempt=attempt,
        settle=attempt * dice.choice([1.0, 2.0]),
        deadline=dice.choice([10.0, 60.0, 200.0]),
    )


@attrs.define
class _Faults:
    dice: random.Random
    timeouts: Timeouts
    stale: float
    late: bool = attrs.field(kw_only=True)

    def draw(self) -> tuple[Fault, ...]:
        """Return which kinds befall which endpoints, and how often."""
        faults: list[Fault] = []
        kinds = self.dice.sample(_KINDS, self.dice.choice([0, 1, 2, 3, 5]))
        if self.late:
            kinds.append(self.dice.choice([FaultKind.LATE_APPLY, FaultKind.GATEWAY_TIMEOUT]))
        share = self.dice.choice([0.03, 0.1, 0.25, 0.5])
        for kind in dict.fromkeys(kinds):
            part = (share / 10 if kind in _RARE else share) / len(kinds)
            for endpoint in Endpoint:
                if Fault(kind).fits(endpoint, None) and self.dice.random() < 0.7:
                    faults += [
                        Fault(kind, endpoint=endpoint, probability=part / len(options), **option)
                        for options in [self._options(kind)]
                        for option in options
                    ]
        return tuple(faults)

    def _options(self, kind: FaultKind) -> Sequence[dict[str, Any]]:
        options: dict[FaultKind, Callable[[], Sequence[dict[str, Any]]]] = {
            FaultKind.LATE_APPLY: self._late_applies,
            FaultKind.GATEWAY_TIMEOUT: lambda: [
                option | {"retry_after": wait} for option in self._late_applies() for wait in (None, 1.0, 5.0)
            ],
            FaultKind.ERROR_AFTER: lambda: [{}, {"status": 503}, {"status": 503, "retry_after": 2.0}],
            FaultKind.STALL_BEFORE: lambda: [{"delay": self.timeouts.attempt * part} for part in (0.5, 1.2)],
            FaultKind.STALL_AFTER: lambda: [{"delay": self.timeouts.attempt * part} for part in (0.5, 1.2)],
            FaultKind.REFUSE: lambda: [{"delay": self.dice.choice([0.5, 5.0])}],
            FaultKind.UNAVAILABLE: lambda: [{}, {"retry_after": self.dice.choice([1.0, 4.0])}],
            FaultKind.RATE_LIMITED: lambda: [{}, {"retry_after": self.dice.choice([1.0, 7.0])}],
            FaultKind.STALE_LIST: lambda: [{"delay": self.stale or 1.0}],
        }
        return options.get(kind, lambda: [{}])()

    def _late_applies(self) -> Sequence[dict[str, Any]]:
        settle = self.timeouts.settle
        within = max(0.1, settle - max(self.stale, 1.0) - SLACK)
        delays = [0.1, within / 2, within]
        return [{"delay": delay} for delay in ([*delays, settle + SLACK, 2 * settle] if self.late else delays)]


def _quota(dice: random.Random) -> Quota:
    return Quota(
        limit=dice.choice([5, 20, 100]),
        window=dice.choice([1.0, 1.0, 10.0]),
        kind=dice.choice(["fixed", "sliding", "bucket"]),
        headers=dice.choice(_HEADERS),
    )


def _actor(
    dice: random.Random,
    number: int,
    tenants: Sequence[str],
    timeouts: Timeouts,
    job: Job | None,
    twins: float,
    resource: str,
) -> Actor:
    acts = []
    for place in range(dice.randint(1, 9)):
        marker = f"a{number}.{place}"
        # Some records have a name that others have, too.
        name = dice.choice(["Twin", *(job.names[:1] if job else ())]) if dice.random() < twins else f"Shop {marker}"
        pause = dice.choice([0.0, 0.0, dice.uniform(0, 5.0)])
        what = "create" if place == 0 else dice.choice(_WEIGHTED)
        if resource != "integrations":
            what = _INSTEAD.get(what, what)
        acts.append(
            Act(
                pause=pause,
                what=what,
                marker=marker,
                name=name,
                reference=f"ref-{marker}" if dice.random() < 0.5 else None,
                cancelled=dice.choice([dice.uniform(0.0, 1.0), timeouts.attempt]) if dice.random() < 0.1 else None,
                on_unknown="raise" if dice.random() < 0.2 else "reconcile",
                repeatable=dice.random() < 0.5,
                resolved=timeouts.settle * dice.choice([0.0, 0.5, 1.0]),
            )
        )
    return Actor(tenant=dice.choice(tenants), acts=tuple(acts))


def _job(dice: random.Random, tenants: Sequence[str]) -> Job:
    count = dice.randint(1, 20)
    journal = dice.random() < 0.7
    return Job(
        tenant=dice.choice(tenants),
        at=dice.uniform(0.0, 5.0),
        names=tuple(f"Job {number}" for number in range(count)),
        references=tuple(f"job-{number}" if dice.random() < 0.6 else None for number in range(count)),
        # What is not remembered may have been sent: without a journal only these find it when the run begins again.
        existing=dice.choice(["adopt", "update", "fail", "ignore"] if journal else ["adopt", "update"]),
        journal=journal,
        concurrency=dice.choice([1, 4, 64]),
        there=tuple(number for number in range(count) if dice.random() < 0.15),
    )


def _happenings(dice: random.Random, faults: _Faults, job: Job | None) -> tuple[Happening, ...]:
    draws: dict[str, Callable[[], Any]] = {
        "tokens end": lambda: None,
        "quota": lambda: dice.choice([None, _quota(dice)]),
        "clock": lambda: dice.choice([-3600.0, -5.0, 5.0, 3600.0]),
        "faults": faults.draw,
        "outage": lambda: dice.uniform(0.1, 5.0),
    }
    kinds = [*draws, "crash", "stop"]
    happenings = []
    for _ in range(dice.choice([0, 1, 2, 4])):
        what = dice.choice(kinds)
        value = draws[what]() if what in draws else None
        # What a process forgot, nobody can settle: a crash is for those who have a journal.
        if what in draws or (job is not None and job.journal):
            happenings.append(Happening(at=dice.uniform(0.1, LENGTH), what=what, value=value))
    return tuple(sorted(happenings, key=lambda happening: happening.at))
