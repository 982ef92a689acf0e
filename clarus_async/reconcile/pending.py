"""A record on its way, and what a run needs of the API to bring it there."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

import attrs

from clarus_async.errors import ClarusError
from clarus_async.reconcile.concurrent_creates import ConcurrentCreates
from clarus_async.reconcile.decide import InDoubt, Looked
from clarus_async.resources.integrations import Integration, IntegrationChanges, IntegrationRow, NewIntegration
from clarus_async.retry.circuit_breaker import CircuitBreaker

NAME: Final = "name"
REFERENCE: Final = "external_system_reference1"


def folded(name: str) -> str:
    """Return what names have in common that a server may take for equal.

    Args:
        name: any.
    """
    if not name.isascii():
        # Without case, accents, forms of compatibility and what has no width: as databases' collations compare.
        plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", name).casefold())
        name = "".join(c for c in plain if unicodedata.category(c) not in {"Mn", "Me", "Cf"})
    return " ".join(name.lower().split())


class Lookup(NamedTuple):
    """What a record is looked up by.

    Args:
        field: of the list: the name, or the first reference.
        value: what it has to be.
    """

    field: str
    value: str

    @classmethod
    def of(cls, reference: str | None, name: str, *, references: bool) -> Lookup:
        """Say what a record is looked up by.

        Args:
            reference: its first, if it has one.
            name: its name.
            references: whether the tenant's list can be searched by reference.
        """
        return cls(NAME, name) if reference is None or not references else cls(REFERENCE, reference)

    @property
    def matched_by(self) -> str:
        """How an outcome calls the field."""
        return NAME if self.field == NAME else "reference"


def value_of(row: IntegrationRow, field: str) -> str | None:
    """Return what a row has in a field that is looked up by; ``None`` where it does not tell.

    Args:
        row: any.
        field: the name, or the first reference.
    """
    return row.name if field == NAME else row.external_system_reference1


class Moment(NamedTuple):
    """A past moment, on the clocks that are known to have shown it.

    Args:
        server: the earliest that it may have been on the server's clock; ``None`` where no answer had told of that.
        loop: seconds on the event loop's clock; ``None`` for one of another process.
        wall: on our own wall clock (UTC), which may be set; ``None`` where that says nothing.
    """

    server: datetime | None
    loop: float | None = None
    wall: datetime | None = None


_NO_ROWS: Final[Mapping[int, IntegrationRow]] = MappingProxyType({})


@attrs.define(eq=False, repr=False)
class PendingCreate:
    """A record that is to be created, and what became of it so far.

    Args:
        new: the record.
        idempotency_key: the same for every send.
        doubt: what is known of its sends.
        first_sent: when the first of those that may have been applied went out.
        integration: what the answer to a send said.
        error: what ended the last send.
        starved: the last send would have been tried again, and the retry budget had nothing left.
        doubted: it was in doubt at some time.
        attempts: requests that went out for it, and ended.
        rows: what the last look found, by id.
        names: where it is noted as under way.
        noted: under what.
        not_ours: ids that are known to be other creates' of the same name.
    """

    new: NewIntegration
    idempotency_key: str
    doubt: InDoubt = attrs.field(factory=InDoubt)
    first_sent: Moment | None = None
    integration: Integration | None = None
    error: ClarusError | None = None
    starved: bool = False
    doubted: bool = False
    attempts: int = 0
    rows: Mapping[int, IntegrationRow] = _NO_ROWS
    names: ConcurrentCreates | None = None
    noted: Sequence[str] = ()
    not_ours: Collection[int] = ()


class Patched(NamedTuple):
    """A change that was made.

    Args:
        attempts: requests that went out for it.
        integration: what was answered.
    """

    attempts: int
    integration: Integration


class Terms(NamedTuple):
    """The settings of a client that a run keeps to.

    Args:
        tenant: whose records they are.
        base_url: where its API is.
        settle: seconds after which the server applies nothing any more.
        most_sends: how often a record may be sent.
        max_wait: seconds; a record that would wait longer for its tenant's pace ends the run.
        resource: what they are.
    """

    tenant: str
    base_url: str
    settle: float
    most_sends: int
    max_wait: float
    resource: str = "integrations"


class Api(Protocol):
    """What a run needs of the API."""

    @property
    def terms(self) -> Terms:
        """The client's settings."""
        ...

    @property
    def paused(self) -> float:
        """Seconds for which nothing may be sent."""
        ...

    @property
    def server_time(self) -> datetime | None:
        """What time it is on the server's clock, or was a little earlier; ``None`` where no answer told."""
        ...

    def probing(self) -> CircuitBreaker:
        """Return a fresh count of failures in a row."""
        ...

    def draft(self, new: NewIntegration, idempotency_key: str | None = None) -> PendingCreate:
        """Begin a record.

        Args:
            new: what is to be.
            idempotency_key: the one that it was sent with before.
        """
        ...

    def begin(self, draft: PendingCreate) -> float:
        """Keep others of the same name from taking this record for theirs; return the event loop's time.

        Args:
            draft: whose.
        """
        ...

    def end(self, draft: PendingCreate) -> None:
        """Say that no more becomes known of a record.

        Args:
            draft: one that was begun.
        """
        ...

    async def send(self, draft: PendingCreate, *, patient: bool = False) -> None:
        """Send a record once, and note what became of it.

        Args:
            draft: which.
            patient: what it waits for its turn does not count against its deadline.
        """
        ...

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
        ...

    async def searches_references(self, *, patient: bool = False) -> bool:
        """Whether the tenant's list can be searched by reference.

        Args:
            patient: what it waits for its turn does not count against its deadline.

        Raises:
            ClarusError: the tenant's schema can't be had.
        """
        ...

    async def find(
        self, field: str, values: Sequence[str], *, patient: bool = False
    ) -> dict[str, list[IntegrationRow] | ClarusError]:
        """Return every record that has one of these values, by value. What is not there is proved to be absent.

        An error stands for a value whose rows can't be read, which asking again would not change.

        Args:
            field: what is searched.
            values: at most as many as a query should hold, all different.
            patient: what it waits for its turn does not count against its deadline.

        Raises:
            ClarusError: it can't be read, or not to its end.
        """
        ...

    async def update(
        self, integration_id: int, changes: IntegrationChanges, *, patient: bool = False
    ) -> Patched | ClarusError:
        """Change a record, or return what ended that.

        Args:
            integration_id: which.
            changes: what is to be different.
            patient: what it waits for its turn does not count against its deadline.
        """
        ...
