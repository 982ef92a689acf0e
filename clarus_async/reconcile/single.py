"""One record's doubt, settled within one deadline: what ``create`` does at once, and ``resolve`` later."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final

from clarus_async.calls.caller import Caller
from clarus_async.errors import ClarusError, ConnectionFailedError, InvalidInputError, OutcomeUnknownError, with_facts
from clarus_async.reconcile.creation import Creation, adopted
from clarus_async.reconcile.decide import Fate, InDoubt, Looked, Settled
from clarus_async.reconcile.loop import settle
from clarus_async.reconcile.pending import Moment, PendingCreate
from clarus_async.resources.integrations import Integration, NewIntegration
from clarus_async.retry.backoff import backoff
from clarus_async.retry.deadline import Deadline

LEAST_TO_SEND: Final = 1.0
"""Seconds. What is sent again with less than this left of its deadline is likely to end in doubt once more."""

_LONGEST_TEXT: Final = 300  # of what a server said, in the one line of an error

_LOOKS: Final = 5
"""Looks in a row that may fail, each with the retries of any read."""


async def create(caller: Caller, creation: Creation, new: NewIntegration) -> Integration | ClarusError:
    """Create a record, and settle what is in doubt of it as far as the deadline allows.

    Args:
        caller: whose deadline and retries they are.
        creation: does it.
        new: what is to be.
    """
    draft = creation.draft(new)
    deadline = Deadline(creation.begin(draft) + caller.timeouts.deadline)
    try:
        await creation.send(draft, deadline)
        if draft.integration is not None:
            return draft.integration
        if draft.error is None or not draft.doubt.sends:
            return draft.error or ConnectionFailedError("nothing was sent")
        alone = _Alone(caller, creation, draft, deadline)
        settled = await settle(draft.doubt, alone, caller.timeouts.settle, most=caller.retry.max_attempts)
        if settled.fate is Fate.THERE:
            draft.doubt.made = settled.ids[0]
    finally:
        creation.end(draft)
    return _ended(draft, settled, alone, caller, creation)


async def create_once(caller: Caller, creation: Creation, new: NewIntegration) -> Integration | ClarusError:
    """Create a record, and leave it in doubt where it is.

    Args:
        caller: whose clock it is.
        creation: does it.
        new: what is to be.
    """
    draft = creation.draft(new)
    creation.begin(draft)
    try:
        await creation.send(draft)
    finally:
        creation.end(draft)
    if draft.integration is not None:
        return draft.integration
    error = draft.error or ConnectionFailedError("nothing was sent")
    if isinstance(error, OutcomeUnknownError):
        complete(error, draft, caller, creation)
    return error


def complete(error: OutcomeUnknownError, draft: PendingCreate, caller: Caller, creation: Creation) -> None:
    """Add to an error what :func:`resolve` needs.

    Args:
        error: of a create's send.
        draft: what was sent.
        caller: whose clock it is.
        creation: knows of others of its name.
    """
    due, dated = draft.doubt.given_up + caller.timeouts.settle, caller.shared.dated
    left = due - asyncio.get_running_loop().time()
    error.name = draft.new.name
    error.idempotency_key = draft.idempotency_key
    error.settles_at = datetime.now(UTC) + timedelta(seconds=left)
    error.first_sent_at = draft.first_sent and draft.first_sent.wall
    latest = None if dated is None else dated.latest(due)
    if draft.first_sent is not None and draft.first_sent.server is not None and latest is not None:
        error.server_times = (draft.first_sent.server, latest)
    error.not_ours = creation.others_of_its_name(draft)


def _ended(
    draft: PendingCreate, settled: Settled, alone: _Alone, caller: Caller, creation: Creation
) -> Integration | ClarusError:
    error = draft.error
    if settled.fate is Fate.THERE:
        return draft.integration or adopted(draft.new, draft.rows[settled.ids[0]])
    if draft.integration is not None and alone.looked_last and settled.ids in {(), (draft.integration.id,)}:
        # The deadline came before `settle` did; the answer and a look, made as late as could be, agree.
        return draft.integration
    if settled.fate is Fate.ABSENT and error is not None:
        from clarus_async.retry.failure import not_there  # noqa: PLC0415  only a failure pays for it

        return with_facts(not_there(error), attempts=draft.attempts)
    return unknown(draft, settled, caller, creation)


def unknown(draft: PendingCreate, settled: Settled, caller: Caller, creation: Creation) -> OutcomeUnknownError:
    """Build the error that says what is known of a create that stays in doubt, and what would settle it.

    Args:
        draft: which.
        settled: as far as it got.
        caller: whose clock it is.
        creation: knows of others of its name.
    """
    doubt, last = draft.doubt, draft.error
    found = settled.ids or (() if doubt.made is None else (doubt.made,))
    said = last.__cause__ if isinstance(last, OutcomeUnknownError) else last
    reason = f"last answer: {_cut(said.reason)}" if isinstance(said, ClarusError) else "no clear answer came"
    if settled.fate is Fate.SEVERAL:
        settled_by = "a person, who says which of them is to stay"
        why = f"it was sent {doubt.sends} times, and {len(settled.ids)} records answer for it: {_listed(settled.ids)}"
    else:
        settled_by = "resolve(error), once the server had time to settle"
        may_be = f"; what may be it: {_listed(found)}" if found else ""
        why = f"{_cut(settled.because or 'it is not settled')}{may_be}"
    error = OutcomeUnknownError(
        f"the outcome is unknown ({reason}); {why}; settled by {settled_by}",
        applied=doubt.applied,
        method="POST",
        path=creation.spec.path,
        request_id=None if last is None else last.request_id,
        attempts=draft.attempts,
        retry_after=_floor(doubt),
        key=draft.new.key,
        sent_at=last.sent_at if isinstance(last, OutcomeUnknownError) else None,
        settled_by=settled_by,
        found=found,
    )
    complete(error, draft, caller, creation)
    error.__cause__ = said
    return error


def _floor(doubt: InDoubt) -> float | None:
    """Return the seconds until the server takes requests again, as it said with a 503."""
    left = doubt.not_before - asyncio.get_running_loop().time()
    return left if left > 0 else None


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + "…"


def _listed(ids: tuple[int, ...]) -> str:
    return "ids " + ", ".join(map(str, ids[:10])) + (" …" if len(ids) > 10 else "")


async def resolve(caller: Caller, creation: Creation, error: OutcomeUnknownError) -> Integration | ClarusError | None:
    """Settle a create that raised; ``None`` where it is proved that nothing of it is there.

    Args:
        caller: whose deadline it is.
        creation: looks.
        error: what was raised.
    """
    if error.name is None or error.key is None or error.first_sent_at is None or error.settles_at is None:
        return InvalidInputError(f"resolve: takes the error of a create; this one is settled by {error.settled_by}")
    reference = None if error.key == error.name else error.key
    new = NewIntegration(name=error.name, integration_type="?", external_system_reference1=reference)
    draft = creation.draft(new, error.idempotency_key)
    now = creation.begin(draft)
    draft.doubt = InDoubt(sends=1, given_up=now, applied=error.applied)
    server_times = error.server_times
    draft.first_sent = Moment(server_times and server_times[0], wall=error.first_sent_at)
    draft.error = error
    draft.attempts = error.attempts
    draft.not_ours = error.not_ours
    alone = _Alone(caller, creation, draft, Deadline(now + caller.timeouts.deadline))
    try:
        if server_times is not None and creation.server_time is None:
            # Any answer tells what time it is there.
            await alone.look()
        if server_times is not None and (there := creation.server_time) is not None:
            wait = server_times[1] - there
        else:
            wait = error.settles_at - datetime.now(UTC)
        draft.doubt.given_up += min(wait.total_seconds(), caller.timeouts.settle) - caller.timeouts.settle
        settled = await settle(draft.doubt, alone, caller.timeouts.settle, most=1)
        if settled.fate is Fate.THERE:
            draft.doubt.made = settled.ids[0]
    finally:
        creation.end(draft)
    if settled.fate is Fate.ABSENT:
        return None
    if settled.fate is Fate.THERE:
        row = draft.rows[settled.ids[0]]
        return Integration(
            id=row.id,
            name=row.name or error.name,
            integration_type=row.integration_type,
            provider=row.provider,
            is_active=row.is_active,
            external_system_reference1=row.external_system_reference1,
        )
    return unknown(draft, settled, caller, creation)


class _Alone:
    """Hands for one record, which all have one deadline.

    Args:
        caller: whose clock and retries they are.
        creation: looks and sends.
        draft: the record.
        deadline: of all of it.
    """

    def __init__(self, caller: Caller, creation: Creation, draft: PendingCreate, deadline: Deadline) -> None:
        self._caller = caller
        self._creation = creation
        self._draft = draft
        self.deadline = deadline
        self._last = False
        self.looked_last = False
        """Whether a look as late as the deadline allows told what is there."""

    async def wait(self, at: float) -> bool:
        """Wait until a moment; what has an id is looked up before the deadline in any case."""
        now = asyncio.get_running_loop().time()
        last = self.deadline.at - LEAST_TO_SEND
        if at > last:
            if self._draft.doubt.made is None or self._last:
                return False
            at = last
            self._last = True
        await self._caller.shared.sleep(at - now)
        return not self._caller.shared.closed

    async def look(self) -> Looked | str:
        """Look it up, several times where that fails."""
        for failures in range(1, _LOOKS + 1):
            try:
                looked = await self._creation.look(self._draft, self.deadline)
            except ClarusError as error:
                why = f"looking it up failed: {error.reason}"
                floor = error.retry_after or 0.0
            else:
                self.looked_last = self._last
                return looked
            delay = max(floor, backoff(self._caller.retry, failures, self._caller.shared.random))
            now = asyncio.get_running_loop().time()
            if not self.deadline.allows(now, delay) or self._caller.shared.closed:
                break
            await self._caller.shared.sleep(delay)
        return why

    async def send(self) -> str | None:
        """Send it again, where there is time for an answer."""
        if self.deadline.left(asyncio.get_running_loop().time()) < LEAST_TO_SEND:
            return "there was no time left to send it again"
        await self._creation.send(self._draft, self.deadline)
        return None
