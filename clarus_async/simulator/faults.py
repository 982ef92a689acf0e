"""The faults that can be injected, and which requests get them. Pure: no clock, no socket."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Iterable
from enum import StrEnum, auto
from typing import Final

import attrs


class Endpoint(StrEnum):
    """What a request asks for (CLARUS_API.md §1, §2)."""

    TOKEN = auto()
    CREATE = auto()
    UPDATE = auto()
    DELETE = auto()
    SYNCHRONIZE = auto()
    GRAPHQL = auto()


class FaultKind(StrEnum):
    """What happens to a request. "Applied" means that the server did all that the request asks for."""

    REFUSE = auto()
    """Reset before anything happens; the listener is closed for ``delay`` seconds."""
    RESET_BEFORE = auto()
    """The connection is reset, nothing is applied."""
    RESET_AFTER = auto()
    """Applied, then the connection is reset instead of an answer."""
    STALL_BEFORE = auto()
    """Nothing is applied, no answer for ``delay`` seconds, then a reset."""
    STALL_AFTER = auto()
    """Applied at once, no answer for ``delay`` seconds, then a reset."""
    LATE_APPLY = auto()
    """The connection is reset at once, and the write is applied ``delay`` seconds later."""
    GATEWAY_TIMEOUT = auto()
    """503 (or ``status``) at once, with Retry-After if ``retry_after`` is given, as from a gateway that gave up on the
    API (Varnish's and Fastly's default); the write is applied ``delay`` seconds later."""
    ERROR_BEFORE = auto()
    """500 (or ``status``), with Retry-After if ``retry_after`` is given; nothing applied."""
    ERROR_AFTER = auto()
    """Applied, then 500 (or ``status``), with Retry-After if ``retry_after`` is given."""
    HTML_502 = auto()
    """A proxy's HTML page, nothing applied."""
    UNAVAILABLE = auto()
    """503, with Retry-After if ``retry_after`` is given; nothing applied."""
    RATE_LIMITED = auto()
    """429, with Retry-After if ``retry_after`` is given; nothing applied."""
    TRUNCATED = auto()
    """Applied; half of the promised answer is sent, then the connection is closed."""
    NOT_JSON = auto()
    """Applied, then a text that is no JSON with the status that the answer had, 200 for a 204."""
    OVERSIZED = auto()
    """Applied, then the answer behind spaces, ``size`` bytes in all, gzip-encoded if ``gzip``; 200 for a 204."""
    REDIRECT = auto()
    """302 (or ``status``) to ``location``, nothing applied."""
    UNAUTHORIZED = auto()
    """401 although the token is good, nothing applied."""
    FORBIDDEN = auto()
    """403 in the documented form, nothing applied."""
    GRAPHQL_ERRORS = auto()
    """200 with ``errors``; the data is there, but for the second half of every list."""
    STALE_LIST = auto()
    """The list as it was ``delay`` seconds ago, as from a lagging replica."""
    ODD_ROWS = auto()
    """200; in each list, fields of the first and the last row are null or of another type, and no id is."""
    JSON_API_ERROR = auto()
    """422 with JSON:API error objects, which quote what was sent; nothing applied."""


_WRITES: Final = frozenset({Endpoint.CREATE, Endpoint.UPDATE, Endpoint.DELETE, Endpoint.SYNCHRONIZE})
_API: Final = _WRITES | {Endpoint.GRAPHQL}
_EVERYWHERE: Final = frozenset(Endpoint)

# Where a kind makes sense at all; everywhere if it isn't named.
_POSSIBLE: Final = {
    FaultKind.LATE_APPLY: _WRITES,
    FaultKind.GATEWAY_TIMEOUT: _WRITES,
    FaultKind.GRAPHQL_ERRORS: frozenset({Endpoint.GRAPHQL}),
    FaultKind.STALE_LIST: frozenset({Endpoint.GRAPHQL}),
    FaultKind.ODD_ROWS: frozenset({Endpoint.GRAPHQL}),
}
# On the token endpoint these mean "your credentials are refused": a test has to ask for that by name.
_NOT_TOKEN_UNASKED: Final = frozenset(
    {FaultKind.UNAUTHORIZED, FaultKind.FORBIDDEN, FaultKind.JSON_API_ERROR},
)

_STATUSES: Final = {
    FaultKind.GATEWAY_TIMEOUT: range(500, 600),
    FaultKind.ERROR_BEFORE: range(400, 600),
    FaultKind.ERROR_AFTER: range(400, 600),
    FaultKind.REDIRECT: range(300, 400),
}
_RETRY_AFTER: Final = {
    FaultKind.GATEWAY_TIMEOUT,
    FaultKind.ERROR_BEFORE,
    FaultKind.ERROR_AFTER,
    FaultKind.UNAVAILABLE,
    FaultKind.RATE_LIMITED,
}
_DELAYED: Final = {
    FaultKind.REFUSE,
    FaultKind.STALL_BEFORE,
    FaultKind.STALL_AFTER,
    FaultKind.LATE_APPLY,
    FaultKind.GATEWAY_TIMEOUT,
    FaultKind.STALE_LIST,
}
_DEFAULT_SIZE: Final = 16 * 2**20


@attrs.frozen
class Fault:
    """A fault, which requests get it, and how often.

    Args:
        kind: What happens.
        endpoint: Only requests to this endpoint; ``None``: to any that fits.
        tenant: Only requests with this subdomain; ``None``: all.
        probability: The share of the requests that get it, 0 to 1. A script ignores it.
        delay: Seconds; see each ``FaultKind`` for what is delayed.
        status: Status of the ``ERROR_*`` kinds (400 to 599), of ``GATEWAY_TIMEOUT`` (500 to 599) and of ``REDIRECT``
            (300 to 399).
        retry_after: Seconds, sent as ``Retry-After`` by ``UNAVAILABLE``, ``RATE_LIMITED``, ``GATEWAY_TIMEOUT`` and the
            ``ERROR_*`` kinds.
        retry_after_date: Send ``Retry-After`` as an HTTP-date instead of seconds.
        location: Where ``REDIRECT`` points.
        size: Bytes of an ``OVERSIZED`` body, before encoding.
        gzip: Whether an ``OVERSIZED`` body is gzip-encoded.

    Raises:
        ValueError: A value is out of range, or is given to a kind that has no use for it.
    """

    kind: FaultKind = attrs.field(converter=FaultKind)
    endpoint: Endpoint | None = attrs.field(default=None, kw_only=True, converter=attrs.converters.optional(Endpoint))
    tenant: str | None = attrs.field(default=None, kw_only=True)
    probability: float = attrs.field(default=1.0, kw_only=True)
    delay: float = attrs.field(default=0.0, kw_only=True)
    status: int | None = attrs.field(default=None, kw_only=True)
    retry_after: float | None = attrs.field(default=None, kw_only=True)
    retry_after_date: bool = attrs.field(default=False, kw_only=True)
    location: str | None = attrs.field(default=None, kw_only=True)
    size: int = attrs.field(default=_DEFAULT_SIZE, kw_only=True)
    gzip: bool = attrs.field(default=False, kw_only=True)

    def __attrs_post_init__(self) -> None:
        """Refuse a fault that makes no sense."""
        problems = [problem for broken, problem in self._rules() if broken]
        if problems:
            raise ValueError(f"Fault {str(self.kind)!r}: {'; '.join(problems)}")

    def _rules(self) -> list[tuple[bool, str]]:
        kind, where, statuses = self.kind, possible(self.kind), _STATUSES.get(self.kind, range(0))
        sized, location = self.gzip or self.size != _DEFAULT_SIZE, self.location or ""
        return [
            (not 0 <= self.probability <= 1, "probability must be 0 to 1"),
            (not _are_seconds(self.delay), "delay must be seconds, 0 or more"),
            (self.delay > 0 and kind not in _DELAYED, "delay means nothing here"),
            (self.endpoint not in {None, *where}, f"endpoint must be one of {', '.join(sorted(where))}"),
            (
                self.status is not None and self.status not in statuses,
                f"status must be {statuses.start} to {statuses.stop - 1}" if statuses else "status means nothing here",
            ),
            (self.retry_after is not None and kind not in _RETRY_AFTER, "retry_after means nothing here"),
            (not _are_seconds(self.retry_after or 0.0), "retry_after must be seconds, 0 or more"),
            (self.retry_after_date and self.retry_after is None, "retry_after_date needs retry_after"),
            (self.location is not None and kind is not FaultKind.REDIRECT, "location means nothing here"),
            (not (location.isascii() and location.isprintable()), "location must be one line of ASCII"),
            (self.size < 1, "size must be bytes, 1 or more"),
            (sized and kind is not FaultKind.OVERSIZED, "size and gzip mean nothing here"),
        ]

    def fits(self, endpoint: Endpoint, tenant: str | None) -> bool:
        """Return whether a request to ``endpoint`` for ``tenant`` may meet this fault."""
        if self.tenant is not None and self.tenant != tenant:
            return False
        if self.endpoint is not None:
            return self.endpoint is endpoint
        if endpoint is Endpoint.TOKEN and self.kind in _NOT_TOKEN_UNASKED:
            return False
        return endpoint in possible(self.kind)


def possible(kind: FaultKind) -> frozenset[Endpoint]:
    """Return the endpoints on which ``kind`` makes sense."""
    return _POSSIBLE.get(kind, _EVERYWHERE)


class FaultPlan:
    """Decides which fault, if any, a request gets: the next one of the script, else a random one.

    One roll decides among the faults that fit, so that each keeps its own probability exactly as long as they add up to
    at most 1. With one seed, the n-th request of one tenant to one endpoint gets the same fault in every run, whatever
    other requests come between.
    """

    def __init__(self, faults: Iterable[Fault], seed: int) -> None:
        self._seed = seed
        self._random: dict[tuple[Endpoint, str | None], random.Random] = {}
        self._scripts: dict[Endpoint, deque[Fault | None]] = {endpoint: deque() for endpoint in Endpoint}
        self._faults: tuple[Fault, ...] = ()
        self.replace(faults)

    def replace(self, faults: Iterable[Fault]) -> None:
        """Draw from ``faults`` from now on; scripts stay."""
        faults = tuple(faults)
        for endpoint in Endpoint:
            for tenant in {fault.tenant for fault in faults}:
                total = math.fsum(fault.probability for fault in faults if fault.fits(endpoint, tenant))
                if total > 1 + 1e-9:
                    msg = f"faults on {str(endpoint)!r} for tenant {tenant!r}: probabilities add up to {total:g}"
                    raise ValueError(msg)
        self._faults = faults

    def script(self, endpoint: Endpoint, faults: Iterable[Fault | FaultKind | None]) -> None:
        """Queue a fault for each of the next requests to ``endpoint``; ``None``: no fault."""
        scripted = [Fault(FaultKind(item)) if isinstance(item, str) else item for item in faults]
        for fault in scripted:
            if fault is not None and (fault.endpoint not in {None, endpoint} or endpoint not in possible(fault.kind)):
                raise ValueError(f"fault {str(fault.kind)!r} can't be scripted on {str(endpoint)!r}")
        self._scripts[endpoint].extend(scripted)

    def draw(self, endpoint: Endpoint, tenant: str | None) -> Fault | None:
        """Return the fault for the request to ``endpoint`` for ``tenant`` that has just arrived."""
        script = self._scripts[endpoint]
        if script and (script[0] is None or script[0].tenant in {None, tenant}):
            return script.popleft()
        if not self._faults:
            return None
        stream = self._random.get((endpoint, tenant))
        if stream is None:
            # A generator for each stream of requests, so that one stream's order never shifts another's.
            stream = random.Random(f"{self._seed}/{endpoint}/{tenant}")  # noqa: S311 - reproducible, not secret
            self._random[endpoint, tenant] = stream
        roll = stream.random()
        for fault in self._faults:
            if fault.fits(endpoint, tenant):
                if roll < fault.probability:
                    return fault
                roll -= fault.probability
        return None


def _are_seconds(value: float) -> bool:
    return 0 <= value < math.inf
