"""Looking records up by natural keys, many in one query; one odd row affects no other record (CLARUS_API.md §1)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final

import attrs

from clarus_async.calls.caller import Caller
from clarus_async.calls.queries import ListQuery, graphql_request, row_unreadable
from clarus_async.errors import ApiError, ClarusError, DeadlineExceededError, GraphQLError
from clarus_async.reconcile.concurrent_creates import ConcurrentCreates
from clarus_async.reconcile.pending import LookupKey, folded
from clarus_async.resources.spec import AnySpec
from clarus_async.retry.deadline import Deadline
from clarus_async.wire.graphql import INTROSPECTION, searches_by
from clarus_async.wire.reading import Unreadable
from clarus_async.wire.refusals import concerns_rows, refuses_introspection, refuses_size

_NO_FIELDS: Final[frozenset[str]] = frozenset()


@attrs.define(eq=False, repr=False)
class ResourceState:
    """What is known of one resource of one tenant, on one event loop.

    Args:
        creates: those that are under way, by key.
        searchable: whether its list can be searched by the keys that not every tenant's can, once that was asked.
        schema_lock: held while the tenant's schema is asked for.
        most_values: how many values of a lookup it has granted, once more were refused for their cost.
    """

    creates: ConcurrentCreates = attrs.field(factory=ConcurrentCreates)
    searchable: bool | None = None
    schema_lock: asyncio.Lock = attrs.field(factory=asyncio.Lock)
    most_values: int | None = None

    def idle(self, now: float) -> bool:
        """Whether nothing is under way or in doubt."""
        return not self.schema_lock.locked() and self.creates.idle(now)


def state_of(caller: Caller, spec: AnySpec) -> ResourceState:
    """Return what is known of a resource in a caller's tenant."""
    states = caller.core.tenants.get(caller.subdomain).resources
    state: ResourceState | None = states.get(spec.name)
    if state is None:
        state = states[spec.name] = ResourceState()
    return state


def optional_keys(spec: AnySpec) -> frozenset[str]:
    """Return the fields of the natural keys that not every tenant's list can be searched by."""
    return frozenset(key.field for key in spec.keys if not key.searchable) if spec.keys else _NO_FIELDS


async def searches_optional_keys(
    caller: Caller, spec: AnySpec, deadline: Deadline | None = None, *, wait_for_pace: bool = False
) -> bool:
    """Whether the tenant's list can be searched by every natural key; what its schema says is asked once per client.

    Args:
        caller: makes the call.
        spec: of what.
        deadline: by when, where that is not the view's own.
        wait_for_pace: what it waits for its turn does not count against the deadline.

    Raises:
        ClarusError: no answer can be had now; another time may tell.
    """
    now = caller.core.bind().time()
    state = state_of(caller, spec)
    if state.searchable is not None:
        return state.searchable
    if not optional_keys(spec):
        return True
    by = Deadline(now + caller.timeouts.deadline) if deadline is None else deadline
    try:
        # Whoever asks has a deadline of its own, which may be later than that of those that wait for the answer.
        async with asyncio.timeout_at(None if wait_for_pace else by.at):
            await state.schema_lock.acquire()
    except TimeoutError:
        raise DeadlineExceededError(
            "the tenant's schema was not read in time; nothing was sent", retryable=True
        ) from None
    try:
        if state.searchable is None:
            if wait_for_pace and deadline is None:
                # Waiting for another's answer costs nothing either.
                by = Deadline(caller.core.time() + caller.timeouts.deadline)
            request = graphql_request(
                "introspect",
                INTROSPECTION,
                {},
                partial(_searches_all, spec),
                reconciles=True,
                wait_for_pace=wait_for_pace,
            )
            try:
                state.searchable = (await caller.run(request, by)).value
            except (GraphQLError, ApiError) as error:
                # Introspection may be switched off: then the list is searched by what is documented. Anything else
                # says nothing of the schema, and another time may tell.
                if not refuses_introspection(error):
                    raise
                state.searchable = False
    finally:
        state.schema_lock.release()
    return state.searchable


async def look_up(
    caller: Caller,
    spec: AnySpec,
    keys: Sequence[LookupKey],
    deadline: Deadline | None = None,
    *,
    created_from: datetime | None = None,
    wait_for_pace: bool = False,
) -> dict[LookupKey, list[Any] | ClarusError]:
    """Return every record that has one of these keys, by key. What is not there is proved to be absent.

    Values that the server may take for equal are asked for each alone. Where a row can't be told from others, or
    has none of the values, the query is halved until it is known which value that concerns.

    Args:
        caller: makes the calls.
        spec: of what.
        keys: all different, and of one field and one scope.
        deadline: by when, where that is not the view's own.
        created_from: none that is older, where the resource's list has a filter for that.
        wait_for_pace: what it waits for its turn does not count against the deadline.

    Returns:
        For each key its rows, or why these can't be read, which asking again would not change.

    Raises:
        ClarusError: it can't be read, or not to its end.
    """
    caller.core.bind()
    state = state_of(caller, spec)
    queries = _queries(keys)
    found: dict[LookupKey, list[Any] | ClarusError] = {}
    while queries:
        query = queries.pop()
        if state.most_values is not None and len(query) > state.most_values:
            queries += _halves(query)
            continue
        answer: dict[LookupKey, list[Any]] | ClarusError
        try:
            wanted = _filter(spec, query, created_from)
            rows, unreadable = await _read(caller, spec, query, wanted, deadline, wait_for_pace=wait_for_pace)
        except ClarusError as error:
            if refuses_size(error) and len(query) > 1:
                state.most_values = len(query) // 2
            elif not concerns_rows(error):
                raise
            answer = error
        else:
            answer = row_unreadable(unreadable[0]) if unreadable else _by_key(spec, query, rows)
        if not isinstance(answer, ClarusError):
            found |= answer
        elif len(query) > 1:
            queries += _halves(query)
        else:
            found[query[0]] = answer
    return {key: found[key] for key in keys}


async def _read(
    caller: Caller,
    spec: AnySpec,
    query: Sequence[LookupKey],
    wanted: Mapping[str, Any],
    deadline: Deadline | None,
    *,
    wait_for_pace: bool,
) -> tuple[list[Any], list[Unreadable]]:
    optional = query[0].field in optional_keys(spec)
    return await ListQuery(
        caller, spec.listing, wanted, optional, deadline, reconciles=True, wait_for_pace=wait_for_pace
    ).every_row()


def _searches_all(spec: AnySpec, data: Mapping[str, Any]) -> bool | Unreadable:
    """Whether a schema can be searched by every key that not every tenant's can."""
    answers = [searches_by(spec.listing, spec.listing.named(field), data) for field in optional_keys(spec)]
    return next((answer for answer in answers if answer is not True), True)


def _filter(spec: AnySpec, query: Sequence[LookupKey], created_from: datetime | None = None) -> Mapping[str, Any]:
    """Return the operators that find the records of a query; what has no value can't be asked for."""
    first, named = query[0], spec.listing.named
    scope = {named(name): {"eq": value} for name, value in first.scope if value is not None}
    operator = {"eq": first.value} if len(query) == 1 else {"in": [key.value for key in query]}
    wanted = {**scope, named(first.field): operator}
    if created_from is not None and spec.listing.created_filter is not None:
        wanted[spec.listing.created_filter] = {"from": created_from.isoformat()}
    return wanted


def _queries(keys: Sequence[LookupKey]) -> list[list[LookupKey]]:
    """Put keys together that no server takes for equal."""
    alike: dict[str, list[LookupKey]] = {}
    for key in keys:
        alike.setdefault(folded(key.value), []).append(key)
    together = [group[0] for group in alike.values() if len(group) == 1]
    alone = [[key] for group in alike.values() if len(group) > 1 for key in group]
    return [*alone, together] if together else alone


def _halves(query: list[LookupKey]) -> tuple[list[LookupKey], list[LookupKey]]:
    middle = len(query) // 2
    return query[:middle], query[middle:]


def _by_key(spec: AnySpec, query: Sequence[LookupKey], rows: Sequence[Any]) -> dict[LookupKey, list[Any]] | ClarusError:
    """Sort rows by the key that they have, or say that this can't be told of one."""
    first = query[0]
    found: dict[LookupKey, list[Any]] = {key: [] for key in query}
    if not rows:
        return found
    exact = {key.value: key for key in query}
    alike = {folded(key.value): key for key in query}
    for row in rows:
        if not _in_scope(row, first):
            continue
        has = getattr(row, first.field, None)
        key = None if has is None else exact.get(has) or alike.get(folded(has))
        if key is None and has is not None and len(query) == 1:
            # What the server calls equal is so for the one value that was asked for.
            key = first
        if key is None:
            edges = f"/data/{spec.listing.root}/all/edges"
            return row_unreadable(Unreadable(edges, f"rows whose {first.field} is one of those that were asked for"))
        found[key].append(row)
    return found


def _in_scope(row: object, key: LookupKey) -> bool:
    """Whether a row may be in the scope of a key; what has no value was not asked for."""
    return all(value is not None or getattr(row, name, None) is None for name, value in key.scope)
