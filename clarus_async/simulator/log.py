"""The log of all requests, and what became of them."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence

import attrs

from clarus_async.simulator.faults import Endpoint, FaultKind


@attrs.define(kw_only=True, eq=False)
class LoggedRequest:
    """One request; from ``body`` on, its fields are filled in as it is served.

    Attributes:
        at: When its headers had arrived, seconds on the loop's clock.
        endpoint: What it asked for; ``None``: nothing that this server has, or the authorization page.
        method: The HTTP method.
        path: The request target.
        tenant: Its ``X-Clarus-Subdomain``, known or not.
        headers: As they arrived; the mapping ignores case. Not in ``repr``: they hold a token.
        request_id: The ``X-Request-Id`` of its answer.
        send: Of a create: how often its ``Idempotency-Key`` had arrived by now, this time included.
        body: As it arrived. Not in ``repr``: it may hold secrets.
        status: Of the answer that was sent; ``None``: there was none, or not yet.
        fault: The fault that was injected.
        resource: Which resource it named.
        record_id: Which record it named or, for a create, made.
        applied_at: When its write was done, seconds on the loop's clock; ``None``: it wasn't, or it is a read.
    """

    at: float
    endpoint: Endpoint | None
    method: str
    path: str
    tenant: str | None
    headers: Mapping[str, str] = attrs.field(repr=False)
    request_id: str
    send: int = 0
    body: bytes = attrs.field(default=b"", repr=False)
    status: int | None = None
    fault: FaultKind | None = None
    resource: str | None = None
    record_id: int | None = None
    applied_at: float | None = None


class RequestLog:
    """The requests in the order in which they arrived: all, or the latest ``keep``. Counts are never forgotten."""

    def __init__(self, keep: int | None) -> None:
        self._keep = keep
        self._entries: list[LoggedRequest] = []
        self._numbers = itertools.count(1)
        self._counts: Counter[tuple[Endpoint | None, str | None]] = Counter()

    @property
    def entries(self) -> Sequence[LoggedRequest]:
        """What is kept, oldest first."""
        return self._entries if self._keep is None else self._entries[-self._keep :]

    def next_id(self) -> str:
        """Return the id of the request that is arriving."""
        return f"req-{next(self._numbers):08d}"

    def add(self, entry: LoggedRequest) -> None:
        """Note an arrival."""
        self._counts[entry.endpoint, entry.tenant] += 1
        self._entries.append(entry)
        # Dropped by halves, so that no request pays for moving the whole list.
        if self._keep is not None and len(self._entries) > 2 * self._keep:
            del self._entries[: -self._keep]

    def count(self, endpoint: Endpoint | None, tenant: str | None) -> int:
        """Count the arrivals at ``endpoint`` (``None``: anywhere) of ``tenant`` (``None``: anyone)."""
        return sum(
            number
            for (where, who), number in self._counts.items()
            if endpoint in {None, where} and tenant in {None, who}
        )
