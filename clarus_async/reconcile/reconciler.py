"""How a record is created, found again, and what is known of it in between (CLARUS_API.md §1).

There is no idempotency key and no way to read one record (CLARUS_API.md §1 and §3): what was sent and got no clear
answer is looked up in the list, by the surest of its natural keys that the tenant's list can be searched by.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from operator import attrgetter
from types import MappingProxyType
from typing import Any, NamedTuple

from clarus_async.calls.caller import Caller
from clarus_async.calls.request import Call, MemberOperation, Request
from clarus_async.errors import Applied, ClarusError
from clarus_async.ratelimit.queue import RequestQueue, Traffic
from clarus_async.reconcile.concurrent_creates import ConcurrentCreates
from clarus_async.reconcile.decide import LookupResult, lookup_result, search_from
from clarus_async.reconcile.lookup import look_up, optional_keys, searches_optional_keys, state_of
from clarus_async.reconcile.pending import LookupKey, Moment, PendingCreate, lookup_keys
from clarus_async.resources.spec import AnySpec
from clarus_async.retry.circuit_breaker import CircuitBreaker
from clarus_async.retry.deadline import Deadline
from clarus_async.retry.effect import OperationKind
from clarus_async.wire.envelope import changes_body, create_body, read_changed, read_created
from clarus_async.wire.refusals import refuses_document


class Creation:
    """A record that is being created.

    Args:
        new: what is sent.
        pending: what is known of it.
        record: what the answer to a send said.
        error: what ended the last send.
        budget_exhausted: that would have been tried again, and the retry budget had nothing left.
        sent_at: when the first request for it went out that was not refused, in seconds on the event loop's clock.
        rows: what the last lookup found, by id.
        concurrent: where it is noted as under way.
        names: what its keys have in common with those that a server may take for equal.
    """

    # Defaults stand here, so that a create costs what it comes to.
    record: Any = None
    error: ClarusError | None = None
    budget_exhausted: bool = False
    sent_at: float | None = None
    rows: Mapping[int, Any] = MappingProxyType({})
    concurrent: ConcurrentCreates | None = None

    def __init__(self, new: Any, pending: PendingCreate) -> None:  # noqa: ANN401
        self.new = new
        self.pending = pending
        self.names: list[str] = [key.folded for key in pending.keys]


class ChangedRecord(NamedTuple):
    """A change that was made.

    Args:
        attempts: requests that went out for it.
        record: what was answered.
    """

    attempts: int
    record: Any


class Terms(NamedTuple):
    """The settings of a client that a run keeps to.

    Args:
        tenant: whose records they are.
        base_url: where its API is.
        settle: seconds after which the server applies nothing any more.
        most_sends: how often a record may be sent.
        max_wait: seconds; a record that would wait longer for its tenant's pace ends the run.
    """

    tenant: str
    base_url: str
    settle: float
    most_sends: int
    max_wait: float


class Reconciler:
    """Creates, finds and changes the records of one resource of one tenant.

    Args:
        caller: makes the calls.
        spec: of what.
    """

    def __init__(self, caller: Caller, spec: AnySpec) -> None:
        self.spec = spec
        self._caller = caller
        # Not by a loop, which takes longer for each create.
        self._secret: Callable[[Any], Any] = attrgetter(*spec.secret) if spec.secret else _nothing

    @property
    def terms(self) -> Terms:
        """The client's settings that a run keeps to."""
        caller = self._caller
        return Terms(
            tenant=caller.subdomain,
            base_url=caller.core.base_url,
            settle=caller.timeouts.settle,
            most_sends=caller.retry.max_attempts,
            max_wait=caller.core.pacing.max_wait,
        )

    @property
    def paused(self) -> float:
        """Seconds for which nothing may be sent to the tenant."""
        return self._queue.pace.pause(self._caller.core.time())

    @property
    def rate_limited(self) -> bool:
        """Whether requests wait because no more a second may be sent to the tenant."""
        return self._queue.limits(self._caller.subdomain)

    @property
    def is_down(self) -> bool:
        """Whether nothing may be sent because the server said that it is down."""
        return self._caller.core.time() < self._queue.down_until

    @property
    def _queue(self) -> RequestQueue:
        return self._caller.core.tenants.queue(self._caller.subdomain)

    @property
    def traffic(self) -> Traffic:
        """What the client sent in the tenant's name so far."""
        return self._queue.traffic(self._caller.core.time())

    @property
    def server_time(self) -> datetime | None:
        """What time it is on the server's clock, or was a little earlier; ``None`` where no answer told."""
        dated = self._caller.core.dated
        return None if dated is None else dated.earliest(self._caller.core.time())

    def circuit_breaker(self) -> CircuitBreaker:
        """Return a fresh one."""
        return CircuitBreaker(self._caller.retry, self._caller.core.random)

    def prepare(self, new: Any, idempotency_key: str | None = None) -> Creation:  # noqa: ANN401
        """Prepare to create a record.

        Args:
            new: what is to be.
            idempotency_key: the one that it was sent with before.
        """
        core = self._caller.core
        core.bind()
        keys = lookup_keys(self.spec, new)
        return Creation(new, PendingCreate(self.spec.name, keys, idempotency_key or core.new_key()))

    def resume(self, left: PendingCreate) -> Creation:
        """Go on with what an error holds; nothing of it can be sent again."""
        self._caller.core.bind()
        return Creation(None, left.resumed(self._caller.core.time()))

    def begin(self, creation: Creation) -> float:
        """Keep others with the same keys from taking this record for theirs, until its end is known.

        Returns:
            What time it is, in seconds on the event loop's clock.
        """
        now = self._caller.core.time()
        # Kept, for at the end the tenant may have been forgotten.
        creates = creation.concurrent = state_of(self._caller, self.spec).creates
        creates.begin(creation.names, now, creation.pending.idempotency_key)
        return now

    def end(self, creation: Creation) -> None:
        """Say that no more becomes known of a record that was begun."""
        now = self._caller.core.time()
        pending, concurrent = creation.pending, creation.concurrent
        in_doubt = pending.in_doubt
        answered_id, until = in_doubt.answered_id, None
        if answered_id is None and in_doubt.sends:
            until = in_doubt.given_up + self._caller.timeouts.settle
        if concurrent is not None:
            concurrent.end(creation.names, now, pending.idempotency_key, answered_id, until=until)

    def given_to_others(self, creation: Creation) -> tuple[int, ...]:
        """Return the ids that are known to be those of other creates with the same keys."""
        pending, concurrent = creation.pending, creation.concurrent
        if concurrent is None:
            return pending.not_ours
        given = (i for name in creation.names for i in concurrent.given_to_others(name, pending.idempotency_key))
        return tuple(dict.fromkeys((*pending.not_ours, *given)))

    async def send(self, creation: Creation, deadline: Deadline | None = None, *, wait_for_pace: bool = False) -> None:
        """Send a record once, and note what became of it.

        Args:
            creation: which.
            deadline: by when, where that is not the view's own.
            wait_for_pace: what it waits for its turn does not count against the deadline.
        """
        new, pending, spec = creation.new, creation.pending, self.spec
        in_doubt, path = pending.in_doubt, spec.path
        request = Request(
            operation="create",
            kind=OperationKind.CREATE,
            method="POST",
            path=path,
            template=path,
            body=create_body(spec, new),
            read=partial(read_created, spec, sent=new),
            idempotency_key=pending.idempotency_key,
            secret=self._secret(new),
            # What is in doubt for the connection that was lost must not be lost to another one like it.
            new_connection=pending.was_in_doubt,
            wait_for_pace=wait_for_pace,
        )
        call = self._caller.begin(request, deadline)
        try:
            error = await self._caller.perform(call)
        except asyncio.CancelledError:
            if call.applied is not Applied.NO:
                in_doubt.sent(call.applied, asyncio.get_running_loop().time())
            raise
        now = self._caller.core.time()
        pending.attempts += call.attempts
        creation.error, creation.budget_exhausted = error, call.budget_exhausted
        if creation.sent_at is None and call.attempts:
            creation.sent_at = call.first_in_doubt_at or call.sent_at
        if error is None:
            creation.record = call.value
            in_doubt.sent(Applied.YES, now, call.value.id)
        elif call.applied is not Applied.NO:
            in_doubt.sent(call.applied, now)
            pending.was_in_doubt = True
            in_doubt.rate_limited += call.limiter_503
            in_doubt.retry_at = now + (error.retry_after or 0.0)
        elif error.retryable:
            in_doubt.budget_exhausted += call.budget_exhausted
        else:
            in_doubt.refused = True
        if call.first_in_doubt_at is not None and pending.first_sent is None:
            pending.first_sent = self._moment(call.first_in_doubt_at)

    async def look_up(self, creation: Creation, deadline: Deadline | None = None) -> LookupResult:
        """Look for what our sends made of a record.

        Args:
            creation: which.
            deadline: by when, where that is not the view's own.

        Raises:
            ClarusError: it can't be read; that proves nothing.
        """
        keys = creation.pending.keys
        optional = optional_keys(self.spec)
        searchable = keys[0].field not in optional or await self.searches_optional_keys(deadline)
        key = surest(keys, optional, searchable=searchable)
        at = asyncio.get_running_loop().time()
        rows = (await look_up(self._caller, self.spec, [key], deadline))[key]
        if isinstance(rows, ClarusError):
            raise rows
        result = self.sort_out(creation, key, rows, at)
        return await self.search_by_time(creation, key, rows, result, deadline=deadline)

    async def search_by_time(
        self,
        creation: Creation,
        key: LookupKey,
        rows: Sequence[Any],
        result: LookupResult,
        others: Collection[int] = (),
        *,
        deadline: Deadline | None = None,
        wait_for_pace: bool = False,
    ) -> LookupResult:
        """Find out which rows are no older than our first send, where they do not show when they were created.

        Args:
            creation: which record.
            key: what was looked up.
            rows: what was found.
            result: what that tells by itself.
            others: ids that are known to be other records'.
            deadline: by when, where that is not the view's own.
            wait_for_pace: what it waits for its turn does not count against the deadline.

        Raises:
            ClarusError: it can't be read; that proves nothing.
        """
        since = self._not_before(creation)
        if result.sure or creation.pending.in_doubt.seen is not None or since is None:
            return result
        if self.spec.listing.created_filter is None:
            return result
        try:
            found = await look_up(
                self._caller,
                self.spec,
                [key],
                deadline,
                created_from=search_from(since),
                wait_for_pace=wait_for_pace,
            )
        except ClarusError as error:
            if refuses_document(error):
                return result
            raise
        new = found[key]
        if isinstance(new, ClarusError):
            return result
        return self.sort_out(creation, key, rows, result.at, others, {row.id for row in new})

    def sort_out(
        self,
        creation: Creation,
        key: LookupKey,
        rows: Sequence[Any],
        at: float,
        others: Collection[int] = (),
        created_since: Collection[int] = (),
    ) -> LookupResult:
        """Say which of the rows that have a record's key answer for our sends.

        Args:
            creation: which record.
            key: what was looked up.
            rows: a complete answer.
            at: when it was asked for, in seconds on the event loop's clock.
            others: ids that are known to be other records'.
            created_since: ids that a search by the time of creation found to be no older than our first send.
        """
        pending = creation.pending
        creates = state_of(self._caller, self.spec).creates
        name, first_sent = key.folded, pending.first_sent
        creation.rows = {row.id: row for row in rows}
        given = {*creates.given_to_others(name, pending.idempotency_key), *others, *pending.not_ours}
        exact = [row for row in rows if getattr(row, key.field, None) == key.value]
        since = 0.0 if first_sent is None or first_sent.loop is None else first_sent.loop
        contested = creates.contested(name, since, pending.idempotency_key)
        return lookup_result(
            exact or rows,
            pending.in_doubt,
            at=at,
            given=given - {pending.in_doubt.answered_id},
            # What the server only takes for equal may be another's.
            contested=contested or not exact,
            not_before=self._not_before(creation),
            clock_uncertain=first_sent is not None and first_sent.server is None and first_sent.loop is None,
            created_since=created_since,
        )

    def _not_before(self, creation: Creation) -> datetime | None:
        """Return the earliest that the first send of a record may have been on the server's clock."""
        sent, dated = creation.pending.first_sent, self._caller.core.dated
        if sent is None or sent.server is not None or sent.wall is None or dated is None:
            return sent and sent.server
        return dated.by_our_clocks(sent.loop, sent.wall)

    def _moment(self, at: float) -> Moment:
        """Return a past moment of the event loop's clock on all clocks."""
        dated = self._caller.core.dated
        wall = datetime.now(UTC) - timedelta(seconds=asyncio.get_running_loop().time() - at)
        return Moment(None if dated is None else dated.earliest(at), at, wall)

    def settles(self, pending: PendingCreate) -> Moment:
        """Return from when on a lookup proves that a record is not there."""
        due, dated = pending.in_doubt.given_up + self._caller.timeouts.settle, self._caller.core.dated
        left = due - asyncio.get_running_loop().time()
        latest = None if dated is None else dated.latest(due)
        return Moment(latest, wall=datetime.now(UTC) + timedelta(seconds=left))

    async def searches_optional_keys(self, deadline: Deadline | None = None, *, wait_for_pace: bool = False) -> bool:
        """Whether the tenant's list can be searched by every natural key; see ``reconcile.lookup``."""
        return await searches_optional_keys(self._caller, self.spec, deadline, wait_for_pace=wait_for_pace)

    def trust_optional_keys(self) -> None:
        """Take it for known that the list can be searched by every natural key, where another client has found so."""
        self._caller.core.bind()
        state_of(self._caller, self.spec).searchable = True

    async def find(
        self, keys: Sequence[LookupKey], *, wait_for_pace: bool = False
    ) -> dict[LookupKey, list[Any] | ClarusError]:
        """Return every record that has one of these keys, by key; see ``reconcile.lookup.look_up``."""
        return await look_up(self._caller, self.spec, keys, wait_for_pace=wait_for_pace)

    async def update(
        self,
        id: int,  # noqa: A002
        changes: Any,  # noqa: ANN401
        *,
        wait_for_pace: bool = False,
    ) -> ChangedRecord | ClarusError:
        """Change a record, or return what ended that.

        Args:
            id: which.
            changes: what is to be different.
            wait_for_pace: what it waits for its turn does not count against its deadline.
        """
        request = self.update_request(id, changes, wait_for_pace=wait_for_pace)
        call = self.call(request)
        if (error := await self.perform(call)) is not None:
            return error
        # An answer whose body did not come whole was not read.
        record = call.value or read_changed(self.spec, b"", record_id=int(id), changes=changes)
        return ChangedRecord(call.attempts, record)

    def update_request(self, id: int, changes: Any, *, wait_for_pace: bool = False) -> Request:  # noqa: A002, ANN401
        """Build the request that changes a record."""
        return Request(
            operation="update",
            kind=OperationKind.UPDATE,
            method="PATCH",
            path=f"{self.spec.path}/{int(id)}",
            template=self.spec.member,
            body=changes_body(self.spec, id, changes),
            read=partial(read_changed, self.spec, record_id=int(id), changes=changes),
            secret=[getattr(changes, name, None) for name in self.spec.secret],
            wait_for_pace=wait_for_pace,
        )

    def request(
        self,
        operation: MemberOperation,
        id: int,  # noqa: A002
        *,
        repeatable: bool = False,
        wait_for_pace: bool = False,
    ) -> Request:
        """Build the request of an operation on a record."""
        return Request(
            operation=operation.name,
            kind=operation.kind,
            method=operation.method,
            # As a plain number: an enum's member would stand there by its name.
            path=f"{self.spec.path}/{int(id)}{operation.action}",
            template=self.spec.member + operation.action,
            repeatable=repeatable,
            wait_for_pace=wait_for_pace,
        )

    def call(self, request: Request) -> Call:
        """Return a call of which nothing is sent yet."""
        return self._caller.begin(request)

    async def perform(self, call: Call) -> ClarusError | None:
        """Make a call, and return what ended it; ``None`` if it succeeded."""
        return await self._caller.perform(call)


def surest(keys: Sequence[LookupKey], optional: Collection[str], *, searchable: bool) -> LookupKey:
    """Return what a record is looked up by."""
    for key in keys:
        if searchable or key.field not in optional:
            return key
    return keys[-1]


def _nothing(_: object) -> None:
    """Return nothing: no attribute of the resource is secret."""
