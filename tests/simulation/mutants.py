"""Faults that are planted on purpose, one at a time, in a copy of the package: the oracle must notice each."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

_ROOT: Final = Path(__file__).parents[2]
_PATIENCE: Final = 900.0  # seconds; one that never ends has been noticed, too


class Mutant(NamedTuple):
    """A fault to plant."""

    fault: str  # what it makes the client do
    module: str  # where, below the package
    old: str  # what stands there, once
    new: str  # what stands there instead


MUTANTS: Final = (
    Mutant("a create of unknown outcome is sent again at once", "retry/effect.py",
           "again = kind in _IDEMPOTENT or ", "again = kind is not OperationKind.ACTION or "),
    Mutant("a 5xx counts as a refusal", "retry/effect.py",
           "origin applies later.\n    return _unknown(kind, repeatable=repeatable)",
           "origin applies later.\n    return _REJECTED"),
    Mutant("a 2xx to a create that can't be read counts as a refusal", "retry/effect.py",
           "    return Classification(Effect.APPLIED, NextAction.IN_DOUBT)",
           "    return _REJECTED"),
    Mutant("a later refusal wipes out an unknown attempt", "retry/effect.py",
           "    return Applied.MAYBE if effect is Effect.UNKNOWN else applied",
           "    return Applied.MAYBE if effect is Effect.UNKNOWN else Applied.NO"),
    Mutant("an action is repeated after an unknown outcome", "retry/effect.py",
           "(kind is OperationKind.ACTION and repeatable)", "kind is OperationKind.ACTION"),
    Mutant("a 429 counts as an unknown outcome", "retry/effect.py",
           "return Classification(Effect.REJECTED, NextAction.RETRY_WHEN_PERMITTED)",
           "return Classification(Effect.UNKNOWN, NextAction.RETRY_WHEN_PERMITTED)"),
    Mutant("a 503 with Retry-After counts as a refusal", "retry/effect.py",
           "    if 400 <= status < 500 and status != 408:",
           "    if status == 503 and result.retry_after is not None:\n"
           "        return Classification(Effect.REJECTED, NextAction.RETRY)\n"
           "    if 400 <= status < 500 and status != 408:"),
    Mutant("what a gateway answered with 503 is sent again at once", "reconcile/loop.py",
           "            if (reason := await actions.send()) is not None:",
           "            in_doubt.sends = 0\n            if (reason := await actions.send()) is not None:"),
    Mutant("a 503's Retry-After is not waited for", "retry/policy.py",
           "self._random) + self._call.retry_after", "self._random)"),
    Mutant("a lost connection counts as one that never was", "retry/effect.py",
           "    return _unknown(kind, repeatable=repeatable)\n\n\ndef _unknown",
           "    return Classification(Effect.NOT_SENT, NextAction.RETRY)\n\n\ndef _unknown"),
    Mutant("not found counts as a proof before settle", "reconcile/decide.py",
           "late = result.at >= due", "late = True"),
    Mutant("settle is halved", "reconcile/decide.py",
           "due = max(in_doubt.given_up + settle, ", "due = max(in_doubt.given_up + settle / 2, "),
    Mutant("of several, the first is picked", "reconcile/decide.py", "if len(ids) == 1:", "if ids:"),
    Mutant("what was there before the send answers for it", "reconcile/decide.py",
           "row.id == known or ((time := times[row.id]) and time >= whole)]", "True]"),
    Mutant("a search by the time of creation begins a minute before the send", "reconcile/decide.py",
           "return not_before.replace(microsecond=0)", "return not_before - timedelta(minutes=1)"),
    Mutant("what no search by the time of creation found is old", "reconcile/decide.py",
           "row.id != known and not searched]", "row.id != known and False]"),
    Mutant("what was given to others answers for ours", "reconcile/decide.py",
           "if row.id not in given and row.id not in (in_doubt.seen or ())", "if row.id not in (in_doubt.seen or ())"),
    Mutant("others of the same name are no rivals", "reconcile/concurrent_creates.py",
           "        if any(other != create for other in same.under_way):\n            return True\n"
           "        return any(since < until for other, until in same.in_doubt.items() if other != create)",
           "        return False"),
    Mutant("ids that others were given are not kept", "reconcile/concurrent_creates.py",
           "if made is not None:", "if False:"),
    Mutant("an unknown outcome is reported as a definite failure", "retry/call_error.py",
           "if failed.applied is Applied.NO:", "if True:"),
    Mutant("the retry budget is never empty", "retry/budget.py", "if self._left < 1.0:", "if self._left < -1e9:"),
    Mutant("a sleep may outlast the deadline", "retry/deadline.py",
           "return now + sleep + LEAST_USEFUL <= self.at", "return True"),
    Mutant("an attempt may outlast the deadline", "retry/deadline.py",
           "return min(most, max(0.0, self.at - now))", "return most"),
    Mutant("an expired token is served", "auth/token_manager.py",
           "return self._held is not None and now < self._held.expires_at", "return self._held is not None"),
    Mutant("Retry-After is not heeded", "ratelimit/limiter.py",
           "self._floor = max(self._floor, now + min(seconds, _LONGEST_FLOOR))", "self._floor = max(self._floor, now)"),
    Mutant("a known rate is exceeded", "ratelimit/limiter.py",
           "self._rate, self._most = policy.rate, math.inf",
           "self._rate, self._most = 2.0 * policy.rate, math.inf"),
    Mutant("the server's clock is read backwards", "wire/server_clock.py",
           "date - timedelta(seconds=self.came - at)", "date + timedelta(seconds=self.came - at)"),
    Mutant("a doubt counts as settled a minute early", "wire/server_clock.py",
           "date + _CUT + timedelta(seconds=at - self.sent)", "date - 60 * _CUT + timedelta(seconds=at - self.sent)"),
    Mutant("a dead token stays in use", "auth/token_manager.py",
           "        self._held = None\n        if self._on_reject", "        if self._on_reject"),
    Mutant("a second token that dies early fails the call", "calls/caller.py",
           "goes_on = call.deadline.allows(now, 0.0)", "goes_on = call.attempts < 2"),
    Mutant("two refreshes at a time", "auth/token_manager.py",
           "        if self._refresh is None:\n", "        if True:\n"),
    Mutant("the last to come is served first", "ratelimit/queue.py",
           "(self._priority if priority else self._normal).append(waiter)",
           "(self._priority if priority else self._normal).appendleft(waiter)"),
    Mutant("one attempt more than the policy says", "retry/policy.py",
           "self._call.counted_attempts >= self._policy.max_attempts",
           "self._call.counted_attempts > self._policy.max_attempts"),
    Mutant("a journal forgets what was in flight", "provisioning/journal/rows.py",
           'return self.status is None or (self.status == "unresolved" and bool(self.sends))', "return False"),
)  # fmt: skip


def catch(mutant: Mutant, seeds: int) -> str | None:
    """Return which promise was broken first, and by which seed; ``None``: nobody noticed."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for part in ("clarus_async", "tests"):
            shutil.copytree(_ROOT / part, root / part, ignore=shutil.ignore_patterns("__pycache__"))
        module = root / "clarus_async" / mutant.module
        text = module.read_text()
        if text.count(mutant.old) != 1:
            return f"NOT PLANTED: {mutant.module} holds the text {text.count(mutant.old)} times"
        module.write_text(text.replace(mutant.old, mutant.new))
        found = root / "found.json"
        command = [sys.executable, "-m", "tests.simulation", "--seeds", str(seeds), "--jobs", "1", "--stop",
                   "--json", str(found)]  # fmt: skip
        environment = os.environ | {"PYTHONPATH": folder}
        try:
            subprocess.run(command, cwd=root, timeout=_PATIENCE, capture_output=True, check=False, env=environment)
        except subprocess.TimeoutExpired:
            return "it never came to an end"
        rows = json.loads(found.read_text())["rows"]
        return next((f"{row['broken'][0][0]}, seed {row['seed']}" for row in rows if row["broken"]), None)


def run_mutants(seeds: int, jobs: int, only: str | None = None) -> int:
    """Plant every fault, and print what caught it."""
    chosen = [mutant for mutant in MUTANTS if only is None or only in mutant.fault]
    caught = 0
    with ThreadPoolExecutor(jobs) as pool:
        for mutant, by in zip(chosen, pool.map(lambda mutant: catch(mutant, seeds), chosen), strict=True):
            ok = by is not None and not by.startswith("NOT PLANTED")
            caught += ok
            print(f"{'caught' if ok else 'MISSED'}  {mutant.fault}  [{mutant.module}]  {by or ''}", flush=True)
    print(f"{caught} of {len(chosen)} planted faults caught")
    return 0 if caught == len(chosen) else 1
