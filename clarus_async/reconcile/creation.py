"""How a record is created, found again, and what is known of it in between (CLARUS_API.md §1).

There is no idempotency key and no way to read one record (CLARUS_API.md §1 and §3): what was sent and got no clear
answer is looked up in the list, by reference where the tenant's schema has that, else by name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

import attrs

from clarus_async.calls.caller import Caller
from clarus_async.calls.request import Request
from clarus_async.errors import Applied, ClarusError
from clarus_async.reconcile.decide import Looked, look_result
from clarus_async.reconcile.lookup import find, searches_references
from clarus_async.reconcile.pending import (
    NAME,
    REFERENCE,
    Lookup,
    Moment,
    Patched,
    PendingCreate,
    Terms,
    folded,
    value_of,
)
from clarus_async.resources.integrations import Integration, IntegrationChanges, IntegrationRow, NewIntegration
from clarus_async.resources.spec import AnySpec
from clarus_async.retry.circuit_breaker import CircuitBreaker
from clarus_async.retry.deadline import Deadline
from clarus_async.retry.effect import Kind
from clarus_async.wire.envelope import changes_body, create_body, read_changed, read_created


class Creation:
    """Creates and finds the records of one tenant.

    Args:
        caller: makes the calls.
        spec: of what.
    """

    def __init__(self, caller: Caller, spec: AnySpec) -> None:
        self._caller = caller
        self.spec = spec

    @property
    def terms(self) -> Terms:
        """The client's settings that a run keeps to."""
        caller = self._caller
        return Terms(
            tenant=caller.subdomain,
            base_url=caller.shared.base_url,
            settle=caller.timeouts.settle,
            most_sends=caller.retry.max_attempts,
            max_wait=caller.shared.pacing.max_wait,
        )

    @property
    def paused(self) -> float:
        """Seconds for which nothing may be sent to the tenant."""
        shared = self._caller.shared
        return shared.queue(self._caller.subdomain).pace.pause(shared.time())

    @property
    def server_time(self) -> datetime | None:
        """What time it is on the server's clock, or was a little earlier; ``None`` where no answer told."""
        dated = self._caller.shared.dated
        return None if dated is None else dated.earliest(self._caller.shared.time())

    def probing(self) -> CircuitBreaker:
        """Return a fresh count of failures in a row."""
        return CircuitBreaker(self._caller.retry, self._caller.shared.random)

    def draft(self, new: NewIntegration, idempotency_key: str | None = None) -> PendingCreate:
        """Begin a record.

        Args:
            new: what is to be.
            idempotency_key: the one that it was sent with before.
        """
        shared = self._caller.shared
        shared.bind()
        return PendingCreate(new, idempotency_key or shared.new_key())

    def begin(self, draft: PendingCreate) -> float:
        """Keep others of the same name or reference from taking this record for theirs, until its end is known.

        Args:
            draft: one of this event loop's.

        Returns:
            What time it is, in seconds on the event loop's clock.
        """
        shared = self._caller.shared
        now = shared.time()
        # Kept, for at the end the tenant may have been forgotten.
        draft.names = shared.tenant(self._caller.subdomain).creates
        draft.noted = _names(draft.new)
        for name in draft.noted:
            draft.names.begin(name, now, draft.idempotency_key)
        return now

    def end(self, draft: PendingCreate) -> None:
        """Say that no more becomes known of a record.

        Args:
            draft: one that was begun.
        """
        now = self._caller.shared.time()
        until = 0.0
        if draft.doubt.made is None and draft.doubt.sends:
            until = draft.doubt.given_up + self._caller.timeouts.settle
        if draft.names is not None:
            for name in draft.noted:
                draft.names.end(name, now, draft.idempotency_key, draft.doubt.made, until=until)

    def others_of_its_name(self, draft: PendingCreate) -> tuple[int, ...]:
        """Return the ids that are known to be other creates' of the same name or reference.

        Args:
            draft: one that was begun.
        """
        names = draft.names
        given = () if names is None else (i for name in draft.noted for i in names.given(name, draft.idempotency_key))
        return tuple(dict.fromkeys((*draft.not_ours, *given)))

    async def send(self, draft: PendingCreate, deadline: Deadline | None = None, *, patient: bool = False) -> None:
        """Send a record once, and note what became of it.

        Args:
            draft: which.
            deadline: by when, where that is not the view's own.
            patient: what it waits for its turn does not count against the deadline.
        """
        request = Request(
            operation="create",
            kind=Kind.CREATE,
            method="POST",
            path=self.spec.path,
            template=self.spec.path,
            body=create_body(self.spec, draft.new),
            read=partial(read_created, self.spec, sent=draft.new),
            key=draft.new.key,
            idempotency_key=draft.idempotency_key,
            secret=getattr(draft.new, "configuration", None),
            # What is in doubt for the connection that was lost must not be lost to another one like it.
            fresh=draft.doubted,
            patient=patient,
        )
        call = self._caller.begin(request, deadline)
        try:
            error = await self._caller.end(call)
        except asyncio.CancelledError:
            if call.applied is not Applied.NO:
                draft.doubt.sent(call.applied, asyncio.get_running_loop().time())
            raise
        now = self._caller.shared.time()
        draft.attempts += call.attempts
        draft.error, draft.starved = error, call.starved
        if error is None:
            draft.integration = call.value
            draft.doubt.sent(Applied.YES, now, call.value.id)
        elif call.applied is not Applied.NO:
            draft.doubt.sent(call.applied, now)
            draft.doubted = True
            draft.doubt.limited += call.limited
            draft.doubt.not_before = now + (error.retry_after or 0.0)
        elif error.retryable:
            draft.doubt.starved += call.starved
        else:
            draft.doubt.refused = True
        if draft.first_sent is None:
            draft.first_sent = None if call.doubt_since is None else self._moment(call.doubt_since)

    async def look(self, draft: PendingCreate, deadline: Deadline | None = None) -> Looked:
        """Look for what our sends made of a record.

        Args:
            draft: which.
            deadline: by when, where that is not the view's own.

        Raises:
            ClarusError: it can't be read; that proves nothing.
        """
        lookup = await self.lookup(draft.new, deadline)
        at = asyncio.get_running_loop().time()
        rows = (await self.find(lookup.field, [lookup.value], deadline))[lookup.value]
        if isinstance(rows, ClarusError):
            raise rows
        return self.sort_out(draft, lookup, rows, at)

    def sort_out(
        self,
        draft: PendingCreate,
        lookup: Lookup,
        rows: Sequence[IntegrationRow],
        at: float,
        others: Collection[int] = (),
    ) -> Looked:
        """Say which of the rows that have a record's key answer for our sends.

        Args:
            draft: which record.
            lookup: what was looked for.
            rows: a complete answer.
            at: when it was asked for, in seconds on the event loop's clock.
            others: ids that are known to be other records'.
        """
        creates = self._caller.shared.tenant(self._caller.subdomain).creates
        name = _name(*lookup)
        draft.rows = {row.id: row for row in rows}
        given = {*creates.given(name, draft.idempotency_key), *others, *draft.not_ours} - {draft.doubt.made}
        exact = [row for row in rows if value_of(row, lookup.field) == lookup.value]
        rivals = creates.rivals(name, (draft.first_sent and draft.first_sent.loop) or 0.0, draft.idempotency_key)
        return look_result(
            exact or rows,
            draft.doubt,
            at=at,
            given=given,
            # What the server only takes for equal may be another's.
            rivals=rivals or not exact,
            not_before=None if draft.first_sent is None else self._on_the_servers_clock(draft.first_sent),
            hearsay=draft.first_sent is not None and draft.first_sent.server is None and draft.first_sent.loop is None,
        )

    def _on_the_servers_clock(self, moment: Moment) -> datetime | None:
        """Return the earliest that a past moment may have been on the server's clock."""
        dated = self._caller.shared.dated
        if moment.server is not None or moment.wall is None or dated is None:
            return moment.server
        return dated.by_our_clocks(moment.loop, moment.wall)

    def _moment(self, at: float) -> Moment:
        """Return a past moment of the event loop's clock on all clocks."""
        dated = self._caller.shared.dated
        wall = datetime.now(UTC) - timedelta(seconds=asyncio.get_running_loop().time() - at)
        return Moment(None if dated is None else dated.earliest(at), at, wall)

    async def lookup(self, new: NewIntegration, deadline: Deadline | None = None) -> Lookup:
        """Say what a record is looked up by in this tenant.

        Args:
            new: which.
            deadline: by when, where that is not the view's own.

        Raises:
            ClarusError: the tenant's schema can't be had.
        """
        reference = new.external_system_reference1
        references = reference is not None and await self.searches_references(deadline)
        return Lookup.of(reference, new.name, references=references)

    async def searches_references(self, deadline: Deadline | None = None, *, patient: bool = False) -> bool:
        """Whether the tenant's list can be searched by reference.

        Args:
            deadline: by when, where that is not the view's own.
            patient: what it waits for its turn does not count against the deadline.

        Raises:
            ClarusError: the tenant's schema can't be had.
        """
        return await searches_references(self._caller, deadline, patient=patient)

    async def find(
        self, field: str, values: Sequence[str], deadline: Deadline | None = None, *, patient: bool = False
    ) -> dict[str, list[IntegrationRow] | ClarusError]:
        """Return every record that has one of these values, by value; see :func:`.lookup.find`."""
        return await find(self._caller, field, values, deadline, patient=patient)

    async def update(
        self, integration_id: int, changes: IntegrationChanges, *, patient: bool = False
    ) -> Patched | ClarusError:
        """Change a record.

        Args:
            integration_id: which.
            changes: what is to be different.
            patient: what it waits for its turn does not count against its deadline.
        """
        read = partial(read_changed, self.spec, record_id=int(integration_id), changes=changes)
        request = Request(
            operation="update",
            kind=Kind.UPDATE,
            method="PATCH",
            path=f"{self.spec.path}/{int(integration_id)}",
            template=self.spec.member,
            body=changes_body(self.spec, integration_id, changes),
            read=read,
            secret=getattr(changes, "configuration", None),
            patient=patient,
        )
        call = self._caller.begin(request)
        error = await self._caller.end(call)
        if error is not None:
            return error
        # An answer whose body did not come whole was not read.
        return Patched(call.attempts, call.value or read(b""))


def _name(field: str, value: str) -> str:
    """Return under what a create is noted that is looked up like this."""
    return f"{field}={folded(value)}"


def _names(new: NewIntegration) -> tuple[str, ...]:
    values = ((field, getattr(new, field, None)) for field in (NAME, REFERENCE))
    return tuple(_name(field, value) for field, value in values if value is not None)


def adopted(new: NewIntegration, row: IntegrationRow) -> Integration:
    """Return the record that our send made, though its answer was lost: what was sent, and what the list says of it.

    Args:
        new: what was sent.
        row: what was found.
    """
    sent = {a.name: getattr(new, a.name) for a in attrs.fields(NewIntegration)}
    return Integration(id=row.id, **sent | {"name": row.name or new.name, "is_active": row.is_active})
