"""How far a run has come, and how it goes on."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Final

from clarus_async.provisioning.engine import Engine
from clarus_async.provisioning.forecast import Speed, Wave, end
from clarus_async.provisioning.options import Bottleneck, Progress
from clarus_async.provisioning.report import Report
from clarus_async.reconcile.reconciler import Reconciler

# Seconds for which a forecast holds, and for each record in doubt: it may be asked for after each outcome, and costs
# a microsecond or two for each of those.
_FRESH: Final = 0.25
_FRESH_EACH: Final = 0.001


class Meter:
    """Watches a run whose input has a length, or ``None``."""

    def __init__(self, engine: Engine, reconciler: Reconciler, total: int | None) -> None:
        self._engine = engine
        self._reconciler = reconciler
        self._total = total
        self._speed: Speed | None = None
        self._looked_at = -math.inf
        self._bottleneck: Bottleneck | None = None
        # When the run ends, and what is in doubt, in seconds on the event loop's clock.
        self._ends: float | None = None
        self._settled = 0.0

    def progress(self, report: Report, began: float, now: float) -> Progress:
        """Say how far it is."""
        engine = self._engine
        over = engine.ended_at is not None
        now = now if engine.ended_at is None else engine.ended_at
        in_doubt, paused = engine.settler.in_doubt, self._reconciler.paused
        if over:
            self._ends, self._bottleneck = None if self._total is None else now, None
        elif now - self._looked_at >= max(_FRESH, _FRESH_EACH * in_doubt):
            self._looked_at = now
            self._look(report.total, in_doubt, paused, now)
        return Progress(
            report=report,
            elapsed=now - began,
            rate=max(0, report.total - engine.restored) / (now - began) if now > began else 0.0,
            eta=None if self._ends is None else max(0.0, self._ends - now),
            paused_until=_after(paused) if paused > 0 else None,
            in_doubt=in_doubt,
            settles_at=_after(max(0.0, self._settled - now)) if in_doubt else None,
            total=self._total,
            recent_rate=0.0 if self._speed is None else self._speed.rate,
            bottleneck=self._bottleneck,
        )

    def _look(self, done: int, in_doubt: int, paused: float, now: float) -> None:
        """Find out how it goes on."""
        engine, settler = self._engine, self._engine.settler
        fresh = max(0, done - engine.restored)
        passed = fresh + in_doubt
        limit = engine.bottleneck
        if self._speed is None and engine.began_at is not None:
            self._speed = Speed(engine.began_at)
        if self._speed is not None:
            held_until = math.inf if engine.full_of_doubt else now + paused
            self._speed.look(now, passed, fresh, limit, held_until)
        # What stops it altogether is said at once, and what else changes from record to record is not.
        mostly = None if self._speed is None else self._speed.limit
        self._bottleneck = limit if paused > 0 or limit is Bottleneck.SETTLING or mostly is None else mostly

        settle = self._reconciler.terms.settle
        due, again = settler.risks(passed)
        waves = settler.waves()
        self._settled = end(now, waves, settle, again, now)
        self._ends = None
        if self._total is None:
            return
        left = 0 if engine.stopped else max(0, self._total - done - in_doubt)
        sent = now
        if left:
            passing = 0.0 if self._speed is None else self._speed.passing
            if again > 0:
                # So many are in doubt at most, each for twice as long as `settle`.
                passing = min(passing, engine.most_under_way / (again * 2.0 * settle))
            if passing <= 0.0:
                return
            sent += paused + left / passing
            waves.append(Wave(left, now + paused + settle, sent + settle, due, again))
        self._ends = end(sent, waves, settle, again, now)


def _after(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)
