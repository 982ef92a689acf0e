"""Queries over GraphQL: any document, and the lists of resources."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Any, Final, Generic, NamedTuple

from clarus_async.calls.caller import Caller
from clarus_async.calls.request import Request
from clarus_async.errors import ApiError, GraphQLError, ResponseError
from clarus_async.resources.spec import AnyListing, Listing, Row
from clarus_async.retry.deadline import Deadline
from clarus_async.retry.effect import OperationKind
from clarus_async.wire.graphql import (
    Page,
    list_document,
    only_reads,
    read_answer,
    read_page,
    request_body,
)
from clarus_async.wire.reading import Unreadable
from clarus_async.wire.refusals import refuses_size

_log = logging.getLogger("clarus_async")

_PAGE: Final = 100  # rows asked for at once, where a list is read to its end; the server's own limit is not documented
# A filter may leave some pages without rows, but a list with so many in a row is not going to end.
_MOST_EMPTY: Final = 100


def graphql_request(
    operation: str,
    document: str,
    variables: Mapping[str, Any],
    read: Callable[[Mapping[str, Any]], Any],
    *,
    reconciles: bool = False,
    wait_for_pace: bool = False,
) -> Request:
    """Make the request for a GraphQL document; ``read`` makes a value of the answer's data, or says why it can't."""

    def read_body(body: bytes) -> Any:  # noqa: ANN401
        answer = read_answer(body)
        if isinstance(answer, Unreadable) or answer.data is None or answer.errors:
            return answer
        return read(answer.data)

    return Request(
        operation=operation,
        kind=OperationKind.READ if only_reads(document) else OperationKind.ACTION,
        method="POST",
        path="/graphql",
        template="/graphql",
        body=request_body(document, variables),
        read=read_body,
        secret=variables,
        reconciles=reconciles,
        wait_for_pace=wait_for_pace,
    )


class ListQuery(NamedTuple, Generic[Row]):
    """What is asked of a list, a page at a time."""

    caller: Caller
    listing: Listing[Row, Any]
    wanted: Mapping[str, Any]  # the operators of the filter; all rows if there are none
    optional: bool = False  # the optional fields are asked for, too
    deadline: Deadline | None = None  # of each page; the view's own by default
    reconciles: bool = False  # it looks up what an earlier request did: it goes before new work
    wait_for_pace: bool = False  # waiting for the rate limiter does not count against the deadline

    async def page(self, first: int, after: str | None) -> tuple[Page[Row], bool]:
        """Read a page of so many rows, or a smaller one if the server refuses the query for its cost.

        Returns:
            The page, and whether it has as many rows as were asked for at last.
        """
        tenant = self.caller.core.tenants.get(self.caller.subdomain)
        refused = False
        if tenant.most_rows is not None:
            first = min(first, tenant.most_rows)
        while True:
            variables: dict[str, Any] = {"first": first}
            if self.wanted:
                variables["filter"] = self.wanted
            if after is not None:
                variables["after"] = after
            request = graphql_request(
                "list",
                list_document(self.listing, optional=self.optional),
                variables,
                partial(read_page, self.listing),
                reconciles=self.reconciles,
                wait_for_pace=self.wait_for_pace,
            )
            try:
                page: Page[Row] = (await self.caller.run(request, self.deadline)).value
            except (GraphQLError, ApiError) as error:
                if first == 1 or not refuses_size(error):
                    raise
                # The same query would be refused again; fewer rows cost less.
                first, refused = first // 2, True
            else:
                if refused:
                    tenant.most_rows = first
                return page, len(page.rows) + len(page.unreadable) >= first

    async def every_row(self) -> tuple[list[Row], list[Unreadable]]:
        """Read the whole list, and be certain that it is.

        Returns:
            Its rows; and for each node without a readable id, why.

        Raises:
            ResponseError: an answer can't be read, or does not tell whether it was the last page.
            ClarusError: it can't be read; the class says why.
        """
        rows: list[Row] = []
        unreadable: list[Unreadable] = []
        cursors = _Cursors(self.listing)
        cursor: str | None = None
        while True:
            page, _ = await self.page(_PAGE, cursor)
            rows += page.rows
            unreadable += page.unreadable
            # Without pageInfo, the end is proved by asking for what follows the last row: nothing does.
            if page.last or (page.last is None and cursor is not None and not page.rows and not page.unreadable):
                return rows, unreadable
            cursor = cursors.after(page)


def _not_readable(listing: AnyListing, why: str, where: str, expected: str) -> ResponseError:
    return ResponseError(
        why, pointer=f"/data/{listing.root}/all/{where}", expected=expected, method="POST", path="/graphql"
    )


def row_unreadable(unreadable: Unreadable) -> ResponseError:
    """Return the error for a row without a readable id."""
    return ResponseError(
        f"a row of the list can't be read: {unreadable.pointer} should be {unreadable.expected}",
        pointer=unreadable.pointer,
        expected=unreadable.expected,
        method="POST",
        path="/graphql",
    )


class _Cursors:
    """Detects a list that would never end: one that repeats a cursor, or goes on without rows."""

    def __init__(self, listing: AnyListing) -> None:
        self._listing = listing
        self._seen: set[int] = set()
        self._empty = 0

    def after(self, page: Page[Any]) -> str:
        """Return the cursor of the page after this one, which does not say that it is the last.

        Raises:
            ResponseError: there is no cursor, it was returned before, or too many pages in a row had no rows.
        """
        cursor = page.end_cursor
        self._empty = 0 if page.rows or page.unreadable else self._empty + 1
        if cursor is None:
            raise _not_readable(self._listing, "the list does not say whether it ends there", "pageInfo", "an object")
        if self._empty == _MOST_EMPTY:
            why = f"the list goes on after {_MOST_EMPTY} pages without a row, and would never end"
            raise _not_readable(self._listing, why, "edges", "rows, or the end of the list")
        if hash(cursor) in self._seen:
            why = "the list repeats a cursor and would never end"
            raise _not_readable(self._listing, why, "pageInfo/endCursor", "a cursor that was not there before")
        self._seen.add(hash(cursor))
        return cursor


class ResourceList(AsyncIterator[Row]):
    """The rows of a list, which are requested a page at a time; iterate over it, or over its ``pages``."""

    def __init__(
        self,
        caller: Caller,
        listing: Listing[Row, Any],
        wanted: Mapping[str, Any],
        page_size: int = 100,
        *,
        optional: bool = False,
    ) -> None:
        self._query = ListQuery(caller, listing, wanted, optional=optional)
        self._page_size = page_size
        # The same one for all who ask, so that a second loop goes on where the first one was left.
        self._rows = self._each()

    def __aiter__(self) -> AsyncIterator[Row]:  # noqa: PYI034  a generator costs less for each row
        return self._rows

    async def __anext__(self) -> Row:
        return await anext(self._rows)

    async def _each(self) -> AsyncIterator[Row]:
        async for page in self.pages():
            for row in page:
                yield row

    async def pages(self) -> AsyncIterator[list[Row]]:
        """Read the list from its start, a page at a time.

        Raises:
            ResponseError: a page can't be read, or none of its rows; it does not tell whether it is the last; it
                repeats a cursor; or too many pages in a row had no rows.
            ClarusError: it can't be read; the class says why.
        """
        cursors = _Cursors(self._query.listing)
        cursor: str | None = None
        while True:
            page, full = await self._query.page(self._page_size, cursor)
            _warn_of_unreadable(page)
            yield list(page.rows)
            if page.last or (page.last is None and not full):
                # The vendor's sample has no pageInfo: a page that is not full is the last one, then.
                return
            cursor = cursors.after(page)


def _warn_of_unreadable(page: Page[Any]) -> None:
    """Log that rows have no readable id and are left out; if none of a page has, raise."""
    if not page.unreadable:
        return
    if not page.rows:
        raise row_unreadable(page.unreadable[0])
    pointer, expected = page.unreadable[0]
    _log.warning(
        "rows of the list are left out, as their ids can't be read: %d, the first at %s, which should be %s",
        len(page.unreadable),
        pointer,
        expected,
    )
