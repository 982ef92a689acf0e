"""What is read over GraphQL: any document, the list of integrations, and what a tenant's schema can do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Final, Self

from clarus_async.errors import ApiError, DeadlineExceededError, GraphQLError, ResponseError
from clarus_async.policy.deadline import Deadline
from clarus_async.policy.outcome import Kind
from clarus_async.policy.retry import RetryBudget
from clarus_async.records import IntegrationRow
from clarus_async.transport.call import Caller
from clarus_async.transport.request import Request
from clarus_async.wire.graphql import (
    INTROSPECTION,
    Page,
    list_document,
    only_reads,
    read_answer,
    read_page,
    request_body,
    searches_by_reference,
)
from clarus_async.wire.reading import Unreadable

_PAGE: Final = 100  # rows of a page where we read a list to its end
# A filter may leave some pages without rows, but a list that goes on like this is not going to end.
_MOST_EMPTY: Final = 100


def graphql_request(
    operation: str,
    document: str,
    variables: Mapping[str, Any],
    read: Callable[[Mapping[str, Any]], Any],
    *,
    budget: RetryBudget | None = None,
    patient: bool = False,
) -> Request:
    """Make the request of a GraphQL document.

    Args:
        operation: what it is called in logs and events.
        document: the query or mutation.
        variables: its variables, plain data.
        read: turns the answer's ``data`` into a value, or says where it can't be read.
        budget: what retries come from, where that is not the tenant's.
        patient: what it waits for its turn does not count against the deadline.
    """

    def read_body(body: bytes) -> Any:  # noqa: ANN401
        answer = read_answer(body)
        if isinstance(answer, Unreadable) or answer.data is None or answer.errors:
            return answer
        return read(answer.data)

    return Request(
        operation=operation,
        kind=Kind.READ if only_reads(document) else Kind.ACTION,
        method="POST",
        path="/graphql",
        template="/graphql",
        body=request_body(document, variables),
        read=read_body,
        secret=variables,
        budget=budget,
        patient=patient,
    )


async def run_query(caller: Caller, request: Request, deadline: Deadline | None = None) -> Any:  # noqa: ANN401
    """Send a GraphQL request, and return what its ``read`` made of the answer.

    Args:
        caller: makes the call.
        request: from :func:`graphql_request`.
        deadline: by when, where that is not the view's own.

    Raises:
        GraphQLError: the answer has ``errors``, whatever else it has (clarus-api.md §3).
        ClarusError: it can't be had; the class says why.
    """
    return (await caller.run(request, deadline)).value


async def read_list_page(
    caller: Caller,
    wanted: Mapping[str, Any],
    first: int,
    after: str | None = None,
    *,
    with_reference: bool = False,
    deadline: Deadline | None = None,
    budget: RetryBudget | None = None,
    patient: bool = False,
) -> Page:
    """Read one page of the list.

    Args:
        caller: makes the call.
        wanted: the filter's operators; all rows where there is none.
        first: rows that are asked for.
        after: the cursor of the page before.
        with_reference: ask for the first reference, too.
        deadline: by when, where that is not the view's own.
        budget: what retries come from, where that is not the tenant's.
        patient: what it waits for its turn does not count against the deadline.

    Raises:
        ClarusError: it can't be had; the class says why.
    """
    variables: dict[str, Any] = {"first": first}
    if wanted:
        variables["filter"] = wanted
    if after is not None:
        variables["after"] = after
    document = list_document(with_reference=with_reference)
    request = graphql_request("list", document, variables, read_page, budget=budget, patient=patient)
    page: Page = await run_query(caller, request, deadline)
    return page


async def searches_references(caller: Caller, deadline: Deadline | None = None) -> bool:
    """Whether the tenant's list can be searched by reference; its schema is asked once per client.

    Args:
        caller: makes the call.
        deadline: by when, where that is not the view's own.

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
        async with asyncio.timeout_at(by.at):
            await tenant.schema.acquire()
    except TimeoutError:
        raise DeadlineExceededError(
            "the tenant's schema was not read in time; nothing was sent", retryable=True
        ) from None
    try:
        if tenant.searchable is None:
            request = graphql_request("introspect", INTROSPECTION, {}, searches_by_reference)
            try:
                tenant.searchable = await run_query(caller, request, by)
            except (GraphQLError, ResponseError, ApiError) as error:
                if isinstance(error, ApiError) and error.retryable:
                    raise
                # Introspection may be switched off, and what that is answered is not documented (clarus-api.md §3):
                # then the list is searched by what is.
                tenant.searchable = False
    finally:
        tenant.schema.release()
    return tenant.searchable


async def read_every_row(
    caller: Caller,
    wanted: Mapping[str, Any],
    *,
    with_reference: bool = False,
    deadline: Deadline | None = None,
    budget: RetryBudget | None = None,
    patient: bool = False,
) -> list[IntegrationRow]:
    """Read a list to its proved end.

    Args:
        caller: makes the calls.
        wanted: the filter's operators.
        with_reference: ask for the first reference, too.
        deadline: by when, where that is not the view's own.
        budget: what retries come from, where that is not the tenant's.
        patient: what it waits for its turn does not count against the deadline.

    Raises:
        ResponseError: an answer can't be read, or does not say whether it was the last.
        ClarusError: it can't be had; the class says why.
    """
    rows: list[IntegrationRow] = []
    cursors = _Cursors()
    cursor: str | None = None
    while True:
        page = await read_list_page(
            caller,
            wanted,
            100,
            cursor,
            with_reference=with_reference,
            deadline=deadline,
            budget=budget,
            patient=patient,
        )
        rows += page.rows
        if page.last:
            return rows
        cursor = cursors.after(page)
        if cursor is None:
            raise ResponseError(
                "the list does not say whether it ends there, so it proves nothing",
                pointer="/data/integrations/all/pageInfo",
                expected="an object",
                method="POST",
                path="/graphql",
            )


class _Cursors:
    """The cursors of a list so far: one that comes back would never end, nor do pages that stay empty."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._empty = 0

    def after(self, page: Page) -> str | None:
        """Return where the page after this one begins; ``None`` where there is none.

        Args:
            page: one of the list.

        Raises:
            ResponseError: its cursor was there before, or too many pages in a row had no rows.
        """
        cursor = page.end_cursor
        self._empty = 0 if page.rows else self._empty + 1
        if cursor is not None:
            if self._empty == _MOST_EMPTY:
                raise ResponseError(
                    f"the list goes on after {_MOST_EMPTY} pages without a row, and would never end",
                    pointer="/data/integrations/all/edges",
                    expected="rows, or the end of the list",
                    method="POST",
                    path="/graphql",
                )
            if hash(cursor) in self._seen:
                raise ResponseError(
                    "the list repeats a cursor and would never end",
                    pointer="/data/integrations/all/pageInfo/endCursor",
                    expected="a cursor that was not there before",
                    method="POST",
                    path="/graphql",
                )
            self._seen.add(hash(cursor))
        return cursor


class IntegrationList(AsyncIterator[IntegrationRow]):
    """The rows of a list, read a page at a time; iterate over it, or over its :meth:`pages`.

    Args:
        caller: makes the calls.
        wanted: the filter's operators.
        page_size: rows that a request asks for.
        with_reference: ask for the first reference, too.
    """

    def __init__(
        self, caller: Caller, wanted: Mapping[str, Any], page_size: int = 100, *, with_reference: bool = False
    ) -> None:
        self._caller = caller
        self._wanted = wanted
        self._page_size = page_size
        self._with_reference = with_reference
        self._pages: AsyncIterator[list[IntegrationRow]] | None = None
        self._rows: Iterator[IntegrationRow] = iter(())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> IntegrationRow:
        if self._pages is None:
            self._pages = self.pages()
        while (row := next(self._rows, None)) is None:
            # Raises StopAsyncIteration after the last page.
            self._rows = iter(await anext(self._pages))
        return row

    async def pages(self) -> AsyncIterator[list[IntegrationRow]]:
        """Read the list from its start, a page at a time.

        Raises:
            ResponseError: a page can't be read, its cursor was there before, or too many in a row had no rows.
            ClarusError: it can't be had; the class says why.
        """
        cursors = _Cursors()
        cursor: str | None = None
        while True:
            page = await read_list_page(
                self._caller, self._wanted, self._page_size, cursor, with_reference=self._with_reference
            )
            yield list(page.rows)
            cursor = cursors.after(page)
            if cursor is None:
                return
