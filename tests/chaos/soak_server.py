"""The server of ``tests.chaos.soak``: a simulator in a process of its own, which changes its mind all the time."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final

from clarus_async.simulator import Fault, FaultKind, Quota, Simulator
from tests.chaos.simulated import Simulated, simulated_apart

TENANTS: Final = ("acme", "globex", "initech")
TOKEN_LIFE: Final = 20.0
SETTLE: Final = 4.0
_QUOTA_EVERY: Final = 15.0
_LOGIN_EVERY: Final = 47.0  # a login to the account's front end ends the session (CLARUS_API.md §2)
# What is on its way when a token dies, or is refused, can't be called back.
_UNDER_WAY: Final = 1.0
_SHARE: Final = 0.05
_FAULTS: Final[dict[FaultKind, dict[str, Any]]] = {
    FaultKind.RESET_BEFORE: {},
    FaultKind.RESET_AFTER: {},
    FaultKind.ERROR_BEFORE: {},
    FaultKind.ERROR_AFTER: {},
    FaultKind.HTML_502: {},
    FaultKind.TRUNCATED: {},
    FaultKind.NOT_JSON: {},
    FaultKind.UNAVAILABLE: {"retry_after": 1.0},
    FaultKind.RATE_LIMITED: {"retry_after": 1.0},
    FaultKind.STALL_BEFORE: {"delay": 2.0},
    FaultKind.STALL_AFTER: {"delay": 2.0},
    FaultKind.LATE_APPLY: {"delay": SETTLE / 2},
    FaultKind.REFUSE: {"delay": 0.2},
    FaultKind.GRAPHQL_ERRORS: {},
}
_QUOTAS: Final = (
    None,
    Quota(limit=120, window=1.0, headers="retry-after"),
    Quota(limit=60, window=1.0),
    Quota(limit=400, window=5.0, kind="fixed", headers="ietf"),
    Quota(limit=90, window=1.0, kind="bucket", burst=30, headers="x-ratelimit"),
)


def faults() -> list[Fault]:
    """Return what befalls one request in twenty."""
    return [Fault(kind, probability=_SHARE / len(_FAULTS), **options) for kind, options in _FAULTS.items()]


class Restless:
    """Changes the quota again and again, and ends all tokens now and then, until it is to be quiet."""

    quiet = False

    def __init__(self, seed: int) -> None:
        self._seed = seed

    async def __call__(self, simulator: Simulator) -> None:
        dice = random.Random(self._seed)
        await asyncio.gather(
            self._every(_QUOTA_EVERY, lambda: simulator.set_quota(dice.choice(_QUOTAS))),
            self._every(_LOGIN_EVERY, simulator.expire_tokens),
        )

    async def _every(self, seconds: float, act: Callable[[], object]) -> None:
        while True:
            await asyncio.sleep(seconds)
            if not Restless.quiet:
                act()


def simulated(seed: int) -> AbstractContextManager[Simulated]:
    """Run the server."""
    return simulated_apart(
        Restless(seed), tenants=TENANTS, faults=faults(), seed=seed, latency=0.01, token_lifetime=TOKEN_LIFE
    )


def be_quiet(simulator: Simulator) -> None:
    """Let nothing more befall the requests."""
    Restless.quiet = True
    simulator.set_faults([])
    simulator.set_quota(None)


def _dead_tokens(simulator: Simulator) -> tuple[int, int]:
    """Count the requests with a token whose life was over, or that had been refused, for longer than they travel."""
    first: dict[str, float] = {}
    refused: dict[str, float] = {}
    sent: defaultdict[str, list[float]] = defaultdict(list)
    for entry in simulator.requests:
        token = entry.headers.get("Authorization", "")
        if not token.startswith("Bearer "):
            continue
        first.setdefault(token, entry.at)
        sent[token].append(entry.at)
        if entry.status == 401:
            refused.setdefault(token, entry.at)
    dead = 0
    for token, times in sent.items():
        died = min(first[token] + TOKEN_LIFE, refused.get(token, float("inf")))
        dead += sum(at > died + _UNDER_WAY for at in times)
    return dead, len(sent)


def _ledger(simulator: Simulator) -> list[list[Any]]:
    return [
        [tenant, record.name, record.id, record.deleted_at is not None, record.attributes.get("string1")]
        for tenant in TENANTS
        for record in simulator.created(tenant)
    ]


def seen(simulator: Simulator) -> dict[str, Any]:
    """Return what it saw since it started."""
    dead, tokens = _dead_tokens(simulator)
    befallen = sum(entry.fault is not None for entry in simulator.requests)
    refused = sum(entry.status == 429 for entry in simulator.requests)
    return {
        "ledger": _ledger(simulator),
        "connections": simulator.open_connections,
        "requests": simulator.count(),
        "faults": befallen,
        "refused": refused,
        "tokens": tokens,
        "dead": dead,
    }
