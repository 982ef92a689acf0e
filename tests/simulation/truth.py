"""Promises of what became of a record: what is said of it, against the server's own ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from typing import Final

from clarus_async import Applied, ClarusError, OutcomeStatus, OutcomeUnknownError
from tests.simulation.history import Facts, Given, Op, proves_that_nothing_was_done
from tests.support.virtual_world import VirtualDate

_WRITES: Final = frozenset({"create", "update", "delete", "synchronize"})


def no_duplicate(facts: Facts) -> Iterator[str]:
    """No record twice, if the server applies within ``settle``."""
    for marker, records in facts.stored.items():
        sent = facts.of_marker[marker]
        if len(records) > 1 and not any(facts.too_late(attempt) for attempt in sent):
            yield f"{marker}: ids {[record.id for record in records]}, sent by {', '.join(map(str, sent))}"


def every_duplicate_is_named(facts: Facts) -> Iterator[str]:
    """One that came later than ``settle``, and was there at the last look, is named."""
    for op in facts.history.ops:
        if op.what == "create" and op.error is None and op.result is not None:
            named = {op.result.id}
        elif op.what == "create" and isinstance(op.error, OutcomeUnknownError):
            named = set(op.error.found)
        else:
            continue
        looks = [a for a in facts.of_op[op.number] if a.path == "/graphql" and a.event and a.event.proves == "done"]
        visible = _visible(facts, op.act.marker, looks[-1].started if looks else None)
        if len(visible) > 1 and not visible <= named:
            yield f"{op}: stored by its last look: {sorted(visible)}"
    for index, given in _last_outcomes(facts):
        marker = f"j.{index}"
        outcome = given.outcome
        named = {outcome.id, *outcome.others}
        visible = _visible(facts, marker, given.at - 2 * facts.plan.latency[1] - 0.5)
        if len(visible) > 1 and not visible <= named:
            yield f"{outcome.to_json().decode()}: stored by then: {sorted(visible)}"


def _visible(facts: Facts, marker: str, at: float | None) -> set[int]:
    if at is None:
        return set()
    latest = VirtualDate.started + timedelta(seconds=at - max(facts.plan.stale, 1.0))
    return {record.id for record in facts.stored[marker] if record.created_at <= latest}


def nothing_lost(facts: Facts) -> Iterator[str]:
    """Every call ends, and every record of a run has one outcome."""
    for op in facts.history.ops:
        if op.ended is None and not op.crashed:
            yield f"never ended: {op}"
    history = facts.history
    if facts.plan.job is None:
        return
    if not history.done:
        yield f"the run did not come to its end in {len(history.given)} starts"
        return
    got = [given.outcome.index for given in history.given[-1]]
    if sorted(got) != list(range(len(facts.plan.job.names))):
        yield f"outcomes for {sorted(got)} of {len(facts.plan.job.names)}"


def outcomes_are_true(facts: Facts) -> Iterator[str]:
    """What a call returns or raises agrees with the server's ledger."""
    for op in facts.history.ops:
        if op.crashed or op.ended is None or isinstance(op.error, asyncio.CancelledError):
            continue
        if isinstance(op.result, facts.subject.record):
            ids = facts.ids(op.act.marker) if op.what in {"create", "resolve"} else {op.target}
            if op.result.id not in ids:
                # What a server applies when it no longer may answers for whatever has its name.
                if op.result.id not in facts.mistakable(op) and op.act.name not in facts.names_that_came_too_late:
                    yield f"{op}: the server has {sorted(ids)}"
                continue
        if op.what in _WRITES:
            yield from _error_is_true(facts, op)
        elif op.what == "resolve" and op.error is None and op.result is None:
            yield from _done_after_all(facts, op)
    for index, given in _last_outcomes(facts):
        yield from _outcome_is_true(facts, index, given)


def _error_is_true(facts: Facts, op: Op) -> Iterator[str]:
    writes = facts.writes(op)
    done = [attempt for attempt in writes if facts.applied(attempt) is not None]
    if op.error is None:
        # A 404 after an attempt that may have been applied means that it is gone, whoever deleted it.
        gone = op.what == "delete" and op.target not in {
            r.id for r in facts.history.sim.records(op.tenant, facts.plan.resource)
        }
        if not done and not gone:
            yield f"{op}: nothing of it was applied"
        return
    if not isinstance(op.error, ClarusError):
        return
    applied = op.error.applied
    if applied is Applied.NO:
        yield from _done_after_all(facts, op)
    elif applied is Applied.YES and not done:
        yield f"{op}: says that it was applied, and it was not"
    if applied is not Applied.NO and all(map(proves_that_nothing_was_done, writes)):
        yield f"{op}: all of its attempts prove that nothing was done: {', '.join(map(str, writes))}"


def _done_after_all(facts: Facts, op: Op) -> Iterator[str]:
    for attempt in facts.writes(op):
        if facts.applied(attempt) is not None and not facts.too_late(attempt):
            yield f"{op}: says that nothing was applied; {attempt} was"


def _last_outcomes(facts: Facts) -> list[tuple[int, Given]]:
    if not facts.history.done:
        return []
    return [(given.outcome.index, given) for given in facts.history.given[-1]]


def _outcome_is_true(facts: Facts, index: int, given: Given) -> Iterator[str]:
    job, outcome = facts.plan.job, given.outcome
    ours = facts.ids(f"j.{index}")
    others = [
        record
        for record in facts.history.sim.created(job.tenant, facts.plan.resource)
        if facts.subject.name_of(record) == job.names[index] and record.id not in ours
    ]
    same_name = {record.id for record in others}
    # Another create of the same name, of a process that is gone, can't be told from ours.
    forgotten = {record.id for record in others if record.send}
    late = any(facts.too_late(attempt) for attempt in facts.of_marker[f"j.{index}"])
    match outcome.status:
        case OutcomeStatus.CREATED:
            true = outcome.id in ours
        case OutcomeStatus.ADOPTED | OutcomeStatus.UPDATED:
            # What was there before is adopted by contract, whoever made it.
            true = outcome.id in (ours | forgotten if job.existing == "ignore" else ours | same_name)
        case OutcomeStatus.FAILED:
            # Of one that is there, it is the update that failed.
            true = not ours or late or (job.existing == "update" and outcome.id in ours)
        case OutcomeStatus.CONFLICT:
            # A run without a journal knows nothing of what an earlier one created: it names whatever it may be.
            true = not ours or late or (not job.journal and ours <= set(outcome.others))
        case OutcomeStatus.DUPLICATED:
            true = {outcome.id, *outcome.others} <= ours | forgotten and len(ours | forgotten) > 1
        case _:
            # What a process was about to send when it was killed may have gone out, for all that its journal knows.
            crashed = any(happening.what == "crash" for happening in facts.plan.happenings)
            true = bool(same_name) or late or crashed or bool(facts.of_marker[f"j.{index}"])
    if not true:
        yield f"{outcome.to_json().decode()}: stored of it {sorted(ours)}, others of its name {sorted(same_name)}"


def reads_are_complete(facts: Facts) -> Iterator[str]:
    """A list that came to its end has every record that was there all the time."""
    for op in facts.history.ops:
        if op.what not in {"list", "find"} or not isinstance(op.result, list):
            continue
        before = VirtualDate.started + timedelta(seconds=op.began - max(facts.plan.stale, 1.0))
        there = {
            record.id
            for record in facts.history.sim.records(op.tenant, facts.plan.resource)
            if record.created_at <= before and (op.what == "list" or facts.subject.name_of(record) == op.act.name)
        }
        if missing := there - set(op.result):
            yield f"{op}: {sorted(missing)} are missing"


def an_action_goes_out_once(facts: Facts) -> Iterator[str]:
    """What must not be repeated is not sent again after an unknown outcome."""
    for op in facts.history.ops:
        if op.what == "synchronize" and not op.act.repeatable:
            for attempt, later in pairwise(facts.writes(op)):
                if not proves_that_nothing_was_done(attempt):
                    yield f"{op}: {later} after {attempt}"
