"""What is kept of a world: what was asked, how it ended, and everything that went over the wire."""

from __future__ import annotations

import hashlib
from typing import Any

import attrs

from clarus_async import Outcome
from clarus_async.simulator import Simulator
from tests.simulation.plan import Act, Plan
from tests.simulation.tap import Tap


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
