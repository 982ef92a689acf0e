"""One record, created and settled within one deadline: what ``create`` does at once, and ``resolve`` later."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any, Final

import attrs

from clarus_async.calls.caller import Caller
from clarus_async.errors import ClarusError, ConnectionFailedError, InvalidInputError, OutcomeUnknownError, with_facts
from clarus_async.reconcile.decide import Conclusion, Fate, LookupResult
from clarus_async.reconcile.loop import settle_create
from clarus_async.reconcile.pending import InDoubt, PendingCreate
from clarus_async.reconcile.reconciler import Creation, Reconciler
from clarus_async.resources.spec import AnySpec
from clarus_async.retry.backoff import backoff
from clarus_async.retry.deadline import Deadline

LEAST_TO_SEND: Final = 1.0
"""Seconds. What is sent again with less than this left of its deadline is likely to end in doubt once more."""

_LONGEST_TEXT: Final = 300  # of what a server said, in the one line of an error

_LOOKUPS: Final = 5
"""Lookups in a row that may fail, each with the retries of any read: with these, more would not fit into a deadline."""


async def create(caller: Caller, reconciler: Reconciler, new: Any) -> Any | ClarusError:  # noqa: ANN401
    """Create a record, and settle it as far as the deadline allows where no clear answer comes.

    Args:
        caller: whose deadline and retries they are.
        reconciler: does it.
        new: what is to be.
    """
    creation = reconciler.prepare(new)
    deadline = Deadline(reconciler.begin(creation) + caller.timeouts.deadline)
    try:
        await reconciler.send(creation, deadline)
        if creation.record is not None:
            return creation.record
        in_doubt = creation.pending.in_doubt
        if creation.error is None or not in_doubt.sends:
            return creation.error or ConnectionFailedError("nothing was sent")
        actions = _SingleActions(caller, reconciler, creation, deadline)
        settled = await settle_create(in_doubt, actions, caller.timeouts.settle, most_sends=caller.retry.max_attempts)
        if settled.fate is Fate.THERE:
            in_doubt.answered_id = settled.ids[0]
    finally:
        reconciler.end(creation)
    return _ended(creation, settled, actions, reconciler)


async def create_once(reconciler: Reconciler, new: Any) -> Any | ClarusError:  # noqa: ANN401
    """Create a record, and leave it in doubt where it is.

    Args:
        reconciler: does it.
        new: what is to be.
    """
    creation = reconciler.prepare(new)
    reconciler.begin(creation)
    try:
        await reconciler.send(creation)
    finally:
        reconciler.end(creation)
    if creation.record is not None:
        return creation.record
    error = creation.error or ConnectionFailedError("nothing was sent")
    if isinstance(error, OutcomeUnknownError):
        error.pending = _left(creation, reconciler)
    return error


def _left(creation: Creation, reconciler: Reconciler, found: tuple[int, ...] = ()) -> PendingCreate:
    """Return what ``resolve`` goes on from, in this process or another."""
    pending = creation.pending
    return attrs.evolve(
        pending,
        settles=reconciler.settles(pending),
        found=found,
        not_ours=reconciler.given_to_others(creation),
    )


def _ended(
    creation: Creation, settled: Conclusion, actions: _SingleActions, reconciler: Reconciler
) -> Any | ClarusError:  # noqa: ANN401
    error, record = creation.error, creation.record
    if settled.fate is Fate.THERE:
        return record or _adopted(reconciler.spec, creation.new, creation.rows[settled.ids[0]])
    if record is not None and actions.looked_last and settled.ids in {(), (record.id,)}:
        # The deadline came before `settle` did; the answer and a lookup, made as late as could be, agree.
        return record
    if settled.fate is Fate.ABSENT and error is not None:
        from clarus_async.retry.call_error import not_there  # noqa: PLC0415  only a failure pays for it

        return with_facts(not_there(error), attempts=creation.pending.attempts)
    return _unknown(creation, settled, reconciler)


def _unknown(creation: Creation, settled: Conclusion, reconciler: Reconciler) -> OutcomeUnknownError:
    """Build the error that says what is known of a create that stays in doubt, and what would settle it."""
    in_doubt, last = creation.pending.in_doubt, creation.error
    known = in_doubt.answered_id
    found = settled.ids or (() if known is None else (known,))
    said = last.__cause__ if isinstance(last, OutcomeUnknownError) else last
    reason = f"last answer: {_cut(said.reason)}" if isinstance(said, ClarusError) else "no clear answer came"
    if settled.fate is Fate.SEVERAL:
        settled_by = "a person, who says which of them is to stay"
        why = f"{settled.reason}: {_listed(found)}"
    else:
        settled_by = "resolve(error), once the server had time to settle"
        may_be = f"; what may be it: {_listed(found)}" if found else ""
        why = f"{_cut(settled.reason)}{may_be}"
    error = OutcomeUnknownError(
        f"the outcome is unknown ({reason}); {why}; settled by {settled_by}",
        applied=in_doubt.applied,
        method="POST",
        path=reconciler.spec.path,
        request_id=None if last is None else last.request_id,
        attempts=creation.pending.attempts,
        retry_after=_floor(in_doubt),
        sent_at=last.sent_at if isinstance(last, OutcomeUnknownError) else None,
        settled_by=settled_by,
        pending=_left(creation, reconciler, found),
    )
    error.__cause__ = said
    return error


def _floor(in_doubt: InDoubt) -> float | None:
    """Return the seconds until the server takes requests again, as it said with a 503."""
    left = in_doubt.retry_at - asyncio.get_running_loop().time()
    return left if left > 0 else None


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + "…"


def _listed(ids: tuple[int, ...]) -> str:
    return "ids " + ", ".join(map(str, ids[:10])) + (" …" if len(ids) > 10 else "")


def _adopted(spec: AnySpec, new: object, row: Any) -> Any:  # noqa: ANN401
    """Return the record that our send made, though its answer was lost: what was sent, and what the list says of it.

    The list may show what can't be changed in other words than it was given in; what can be changed is as it tells.
    """
    fields, changeable = _fields(spec.record), _fields(spec.changes)
    values = {name: getattr(new, name) for name in _fields(spec.new) & fields}
    told = {name: value for name in fields & changeable if (value := getattr(row, name, None)) is not None}
    return spec.record(**values | told | {"id": row.id})


def _listed_record(spec: AnySpec, pending: PendingCreate, row: Any) -> Any:  # noqa: ANN401
    """Return what the list tells of a record; every record has the last of its natural keys."""
    shared = _fields(spec.record) & _fields(spec.listing.row) - {"extra"}
    values = {name: getattr(row, name) for name in shared}
    last = pending.keys[-1]
    if values.get(last.field) is None:
        values[last.field] = last.value
    return spec.record(**values)


def _fields(kind: type[attrs.AttrsInstance]) -> frozenset[str]:
    return frozenset(attrs.fields_dict(kind))


async def resolve(caller: Caller, reconciler: Reconciler, error: OutcomeUnknownError) -> Any | ClarusError | None:  # noqa: ANN401
    """Settle a create that raised; ``None`` where it is proved that nothing of it is there.

    Args:
        caller: whose deadline it is.
        reconciler: looks it up.
        error: what was raised.
    """
    left, spec = error.pending, reconciler.spec
    if not isinstance(left, PendingCreate) or left.settles is None or left.settles.wall is None:
        return InvalidInputError(f"resolve: takes the error of a create; this one is settled by {error.settled_by}")
    if left.resource != spec.name:
        return InvalidInputError(f"resolve: the error is that of a create of {left.resource}, not of {spec.name}")
    creation = reconciler.resume(left)
    now = reconciler.begin(creation)
    pending = creation.pending
    creation.error = error
    actions = _SingleActions(caller, reconciler, creation, Deadline(now + caller.timeouts.deadline))
    try:
        first_sent, server_settles = pending.first_sent, left.settles.server
        by_server = first_sent is not None and first_sent.server is not None and server_settles is not None
        if by_server and reconciler.server_time is None:
            # Any answer tells what time it is there.
            await actions.look_up()
        if by_server and server_settles is not None and (there := reconciler.server_time) is not None:
            wait = server_settles - there
        else:
            wait = left.settles.wall - datetime.now(UTC)
        pending.in_doubt.given_up += min(wait.total_seconds(), caller.timeouts.settle) - caller.timeouts.settle
        settled = await settle_create(pending.in_doubt, actions, caller.timeouts.settle, most_sends=1)
        if settled.fate is Fate.THERE:
            pending.in_doubt.answered_id = settled.ids[0]
    finally:
        reconciler.end(creation)
    if settled.fate is Fate.ABSENT:
        return None
    if settled.fate is Fate.THERE and settled.ids[0] in creation.rows:
        return _listed_record(spec, pending, creation.rows[settled.ids[0]])
    return _unknown(creation, settled, reconciler)


class _SingleActions:
    """What can be done for one record within its deadline."""

    def __init__(self, caller: Caller, reconciler: Reconciler, creation: Creation, deadline: Deadline) -> None:
        self._caller = caller
        self._reconciler = reconciler
        self._creation = creation
        self._deadline = deadline
        self._last = False
        self.looked_last = False
        """Whether a lookup as late as the deadline allows told what is there."""

    async def wait(self, at: float) -> bool:
        """Wait until a moment; what has an id is looked up before the deadline in any case."""
        now = asyncio.get_running_loop().time()
        last = self._deadline.at - LEAST_TO_SEND
        if at > last:
            if self._creation.pending.in_doubt.answered_id is None or self._last:
                return False
            at = last
            self._last = True
        await self._caller.core.sleep(at - now)
        return not self._caller.core.closed

    async def look_up(self) -> LookupResult | str:
        """Look it up, several times where that fails."""
        for failures in range(1, _LOOKUPS + 1):
            try:
                result = await self._reconciler.look_up(self._creation, self._deadline)
            except ClarusError as error:
                why = f"looking it up failed: {error.reason}"
                floor = error.retry_after or 0.0
            else:
                self.looked_last = self._last
                return result
            delay = max(floor, backoff(self._caller.retry, failures, self._caller.core.random))
            now = asyncio.get_running_loop().time()
            if not self._deadline.allows(now, delay) or self._caller.core.closed:
                break
            await self._caller.core.sleep(delay)
        return why

    async def send(self) -> str | None:
        """Send it again, where there is time for an answer."""
        if self._deadline.left(asyncio.get_running_loop().time()) < LEAST_TO_SEND:
            return "there was no time left to send it again"
        await self._reconciler.send(self._creation, self._deadline)
        return None
