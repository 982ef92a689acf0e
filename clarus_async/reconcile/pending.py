"""A create that is under way or in doubt, and what its record can be looked up by: plain data that holds no payload."""

from __future__ import annotations

import unicodedata
from datetime import datetime
from typing import NamedTuple

import attrs

from clarus_async.errors import Applied
from clarus_async.resources.spec import AnySpec


def folded(text: str) -> str:
    """Return what texts have in common that a server may take for equal."""
    if not text.isascii():
        # Without case, accents, forms of compatibility and what has no width: as databases' collations compare.
        plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
        text = "".join(c for c in plain if unicodedata.category(c) not in {"Mn", "Me", "Cf"})
    return " ".join(text.lower().split())


class LookupKey(NamedTuple):
    """What a record is looked up by: a value of one of its resource's natural keys.

    Args:
        field: the key's attribute.
        value: what it has to be.
        called: what an outcome's ``matched_by`` says.
        scope: the attributes within which the value identifies a record, with their values.
    """

    field: str
    value: str
    called: str
    scope: tuple[tuple[str, object], ...] = ()

    @property
    def text(self) -> str:
        """The value, within its scope."""
        if not self.scope:
            return self.value
        return "/".join([*("" if value is None else str(value) for _, value in self.scope), self.value])

    @property
    def folded(self) -> str:
        """What it has in common with others of its field that a server may take for equal."""
        return f"{self.field}={folded(self.text if self.scope else self.value)}"


def lookup_keys(spec: AnySpec, record: object) -> list[LookupKey]:
    """Return the natural keys that a new record has, the surest first; the last is one that every record has."""
    return [
        LookupKey(
            key.field,
            value,
            key.called,
            tuple((name, getattr(record, name)) for name in key.scope) if key.scope else (),
        )
        for key in spec.keys
        if (value := getattr(record, key.field)) is not None
    ]


class Moment(NamedTuple):
    """A moment, on the clocks that are known to show it.

    Args:
        server: on the server's clock, as far back as a past moment and as far ahead as a future one may have been or
            be; ``None`` where no answer had told of that.
        loop: seconds on the event loop's clock; ``None`` for one of another process.
        wall: on our own wall clock (UTC), which may be set; ``None`` where that says nothing.
    """

    server: datetime | None
    loop: float | None = None
    wall: datetime | None = None


@attrs.define(kw_only=True)
class InDoubt:
    """What is known of the sends of a create that may have been applied.

    Args:
        seen: ids that a lookup before the first send found under its key; ``None`` where nobody looked.
        sends: how many of its requests may have been applied.
        given_up: when the last of them ended, in seconds on a monotonic clock.
        applied: the most that they may have done. After ``YES``, it is never sent again.
        answered_id: the id that an answer gave, if one did.
        refused: the server said no to it, so that it is not to be sent again.
        retry_at: when the server takes requests again, as it said with its last 503; seconds on the same clock.
        rate_limited: how many of its requests a rate limiter answered with 503.
        budget_exhausted: how many of its sends were certainly not applied, and had to end as the retry budget was
            empty.
    """

    seen: frozenset[int] | None = None
    sends: int = 0
    given_up: float = 0.0
    applied: Applied = Applied.NO
    answered_id: int | None = None
    refused: bool = False
    retry_at: float = 0.0
    rate_limited: int = 0
    budget_exhausted: int = 0

    def sent(self, applied: Applied, ended: float, answered_id: int | None = None) -> None:
        """Note a send that may have been applied: when its answer came or it was given up, and the id that it gave."""
        self.sends += 1
        self.given_up = ended
        if self.answered_id is None:
            self.answered_id = answered_id
        if self.applied is not Applied.YES:
            self.applied = applied


@attrs.define
class PendingCreate:
    """A create that is not known to be at its end. It pickles, and holds nothing of what is sent but the natural keys.

    Args:
        resource: the name of the record's resource.
        keys: what the record can be looked up by, the surest first.
        idempotency_key: the same for every send.
        in_doubt: what is known of its sends.
        first_sent: when the first of those that may have been applied went out.
        settles: from when on a lookup proves that the record is not there, once the create has raised.
        attempts: requests that went out for it, and ended.
        was_in_doubt: it was in doubt at some time.
        found: ids of the records that may be it.
        not_ours: ids that are known to be those of other creates with the same keys.
    """

    resource: str
    keys: list[LookupKey]
    idempotency_key: str
    in_doubt: InDoubt = attrs.field(factory=InDoubt)
    first_sent: Moment | None = None
    settles: Moment | None = None
    attempts: int = 0
    was_in_doubt: bool = False
    found: tuple[int, ...] = ()
    not_ours: tuple[int, ...] = ()

    @property
    def key(self) -> str:
        """The surest of the record's natural keys: what tells it from others."""
        return self.keys[0].text

    @property
    def first_sent_at(self) -> datetime | None:
        """When the first request that may have been applied was sent (UTC)."""
        return self.first_sent and self.first_sent.wall

    @property
    def settles_at(self) -> datetime | None:
        """From when on a lookup proves that the record is not there (UTC)."""
        return self.settles and self.settles.wall

    def resumed(self, now: float) -> PendingCreate:
        """Return what is known of it where another process, or another call, goes on with it; it is not sent again."""
        # What was answered may have been deleted since: what is there is what the list tells.
        in_doubt = InDoubt(
            seen=self.in_doubt.seen,
            sends=self.in_doubt.sends,
            given_up=now,
            applied=self.in_doubt.applied,
            refused=True,
        )
        return attrs.evolve(self, in_doubt=in_doubt, first_sent=self.first_sent and self.first_sent._replace(loop=None))
