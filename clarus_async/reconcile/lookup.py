"""Looking records up by their keys, many a query, so that nothing odd of one concerns another (CLARUS_API.md §1)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Final

from clarus_async.calls.caller import Caller
from clarus_async.calls.queries import graphql_request, read_every_row, row_unreadable, run_query
from clarus_async.errors import ApiError, ClarusError, DeadlineExceededError, GraphQLError
from clarus_async.reconcile.pending import REFERENCE, folded, value_of
from clarus_async.resources.integrations import INTEGRATIONS, IntegrationRow
from clarus_async.retry.deadline import Deadline
from clarus_async.wire.graphql import INTROSPECTION, searches_by
from clarus_async.wire.reading import Unreadable
from clarus_async.wire.refusals import concerns_rows, refuses_introspection, refuses_size

_EDGES: Final = "/data/integrations/all/edges"


async def searches_references(caller: Caller, deadline: Deadline | None = None, *, patient: bool = False) -> bool:
    """Whether the tenant's list can be searched by reference; what its schema says is asked once per client.

    Args:
        caller: makes the call.
        deadline: by when, where that is not the view's own.
        patient: what it waits for its turn does not count against the deadline.

    Raises:
        ClarusError: no answer can be had now; another time may tell.
    """
    now = caller.shared.bind().time()
    tenant = caller.shared.tenant(caller.subdomain)
    if tenant.searchable is not None:
        return tenant.searchable
    by = Deadline(now + caller.timeouts.deadline) if deadline is None else deadline
    try:
        # Whoever asks has a deadline of its own, which may be later than that of those that wait for the answer.
        async with asyncio.timeout_at(None if patient else by.at):
            await tenant.schema.acquire()
    except TimeoutError:
        raise DeadlineExceededError(
            "the tenant's schema was not read in time; nothing was sent", retryable=True
        ) from None
    try:
        if tenant.searchable is None:
            if patient and deadline is None:
                # Waiting for another's answer costs nothing either.
                by = Deadline(caller.shared.time() + caller.timeouts.deadline)
            read = partial(searches_by, INTEGRATIONS.listing, REFERENCE)
            request = graphql_request("introspect", INTROSPECTION, {}, read, reconciles=True, wait_for_pace=patient)
            try:
                tenant.searchable = await run_query(caller, request, by)
            except (GraphQLError, ApiError) as error:
                # Introspection may be switched off: then the list is searched by what is documented. Anything else
                # says nothing of the schema, and another time may tell.
                if not refuses_introspection(error):
                    raise
                tenant.searchable = False
    finally:
        tenant.schema.release()
    return tenant.searchable


async def find(
    caller: Caller, field: str, values: Sequence[str], deadline: Deadline | None = None, *, patient: bool = False
) -> dict[str, list[IntegrationRow] | ClarusError]:
    """Return every record that has one of these values, by value. What is not there is proved to be absent.

    Values that the server may take for equal are asked for each alone. Where a row can't be told from others, or
    belongs to none of the values, the query is halved until it is known which value that concerns.

    Args:
        caller: makes the calls.
        field: what is searched.
        values: all different.
        deadline: by when, where that is not the view's own.
        patient: what it waits for its turn does not count against the deadline.

    Returns:
        For each value its rows, or why these can't be read, which asking again would not change.

    Raises:
        ClarusError: it can't be read, or not to its end.
    """
    caller.shared.bind()
    tenant = caller.shared.tenant(caller.subdomain)
    queries = _queries(values)
    found: dict[str, list[IntegrationRow] | ClarusError] = {}
    while queries:
        query = queries.pop()
        if tenant.most_keys is not None and len(query) > tenant.most_keys:
            queries += _halves(query)
            continue
        answer: dict[str, list[IntegrationRow]] | ClarusError
        try:
            rows, unreadable = await read_every_row(
                caller,
                INTEGRATIONS.listing,
                {field: {"eq": query[0]} if len(query) == 1 else {"in": query}},
                optional=field == REFERENCE,
                deadline=deadline,
                reconciles=True,
                wait_for_pace=patient,
            )
        except ClarusError as error:
            if refuses_size(error) and len(query) > 1:
                tenant.most_keys = len(query) // 2
            elif not concerns_rows(error):
                raise
            answer = error
        else:
            answer = row_unreadable(unreadable[0]) if unreadable else _by_value(field, query, rows)
        if not isinstance(answer, ClarusError):
            found |= answer
        elif len(query) > 1:
            queries += _halves(query)
        else:
            found[query[0]] = answer
    return {value: found[value] for value in values}


def _queries(values: Sequence[str]) -> list[list[str]]:
    """Put values together that no server takes for equal."""
    alike: dict[str, list[str]] = {}
    for value in values:
        alike.setdefault(folded(value), []).append(value)
    together = [group[0] for group in alike.values() if len(group) == 1]
    alone = [[value] for group in alike.values() if len(group) > 1 for value in group]
    return [*alone, together] if together else alone


def _halves(query: list[str]) -> tuple[list[str], list[str]]:
    middle = len(query) // 2
    return query[:middle], query[middle:]


def _by_value(
    field: str, query: list[str], rows: Sequence[IntegrationRow]
) -> dict[str, list[IntegrationRow]] | ClarusError:
    """Sort rows by the value that they have, or say that this can't be told of one."""
    found: dict[str, list[IntegrationRow]] = {value: [] for value in query}
    alike = {folded(value): value for value in query}
    for row in rows:
        has = value_of(row, field)
        value = None if has is None else has if has in found else alike.get(folded(has))
        if value is None and has is not None and len(query) == 1:
            # What the server calls equal is so for the one value that was asked for.
            value = query[0]
        if value is None:
            return row_unreadable(Unreadable(_EDGES, f"rows whose {field} is one of those that were asked for"))
        found[value].append(row)
    return found
