"""What becomes of a create whose outcome is in doubt: a pure decision over what was sent and what was found.

The server has no idempotency key (CLARUS_API.md §3), so a create that may have been applied is looked up by its key
before anything else is done:

* Only a record that was not there before the send answers for it: one that no look before the send saw, whose id no
  answer gave to another create, and which, where nobody looked before, was not created before the send on the server's
  clock.
* Found once, it is adopted. Found more than once, nobody picks.
* Not found is a proof only ``settle`` after the last send was given up: until then, the server may still apply it. Then
  it is sent again.
* What was sent twice is looked up once more, ``settle`` after its last send ended: that look names what came too late.

So there is no duplicate if the server applies within ``settle``, and one that comes later is found and named if it is
there at the last look.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple, TypeAlias

import attrs

from clarus_async.errors import Applied
from clarus_async.resources.integrations import IntegrationRow

CLOCK_MARGIN: Final = 2.0
"""Seconds by which ``created_at`` may lie before a send and still be its own: the clocks of a server's machines differ
a little. Whose such a record is, is not certain."""


@attrs.define(kw_only=True)
class InDoubt:
    """What is known of a create that may have been applied.

    Args:
        seen: ids that a look before the first send found under its key; ``None`` where nobody looked.
        sends: how many of its requests may have been applied.
        given_up: when the last of them ended, in seconds on a monotonic clock.
        applied: the most that they may have done. After ``YES``, it is never sent again.
        made: the id that an answer gave, if one did.
        refused: the server said no to it, so that it is not to be sent again.
        not_before: when the server takes requests again, as it said with its last 503; seconds on the same clock.
        limited: how many of its requests a rate limiter answered with 503.
        starved: how many of its sends were certainly not applied, and had to end as the retry budget was empty.
    """

    seen: frozenset[int] | None = None
    sends: int = 0
    given_up: float = 0.0
    applied: Applied = Applied.NO
    made: int | None = None
    refused: bool = False
    not_before: float = 0.0
    limited: int = 0
    starved: int = 0

    def sent(self, applied: Applied, ended: float, made: int | None = None) -> None:
        """Note a send that may have been applied.

        Args:
            applied: the most that it may have done.
            ended: when its answer came, or it was given up.
            made: the id that its answer gave.
        """
        self.sends += 1
        self.given_up = ended
        if self.made is None:
            self.made = made
        if self.applied is not Applied.YES:
            self.applied = applied


class Looked(NamedTuple):
    """What a look found.

    Args:
        at: when it began.
        ids: the records that answer for our sends.
        sure: whether they are nobody else's: no other create of the same name is under way, and it is known when they
            were created.
    """

    at: float
    ids: tuple[int, ...]
    sure: bool = True


class Fate(StrEnum):
    """How a doubt ends."""

    THERE = "there"
    ABSENT = "absent"
    SEVERAL = "several"
    UNDECIDED = "undecided"


class LookAt(NamedTuple):
    """Look it up, and not before this."""

    at: float


class SendAgain(NamedTuple):
    """It is not there: send it again."""


class Settled(NamedTuple):
    """The doubt has ended.

    Args:
        fate: how.
        ids: what was found; the one that an answer gave comes first.
        because: why it can't be decided, in words.
    """

    fate: Fate
    ids: tuple[int, ...] = ()
    because: str | None = None


Decision: TypeAlias = LookAt | SendAgain | Settled

_ABSENT_AFTER_ALL: Final = "the server said that it was created, and it is not in the list"
_SOMEBODY_ELSE: Final = "a record that answers for it may be another create's"
_STRANGER: Final = "several records answer for it, though it was sent once"


def decide(doubt: InDoubt, looked: Looked | None, settle: float, *, may_send: bool) -> Decision:
    """Say what is to be done next.

    Args:
        doubt: what is known.
        looked: the last look since the last send, if there was one.
        settle: seconds after which the server applies nothing any more.
        may_send: whether it may be sent once more.
    """
    if doubt.sends == 0:
        return SendAgain() if may_send else Settled(Fate.ABSENT)
    due = max(doubt.given_up + settle, doubt.not_before)
    if looked is None:
        # One send is worth a look at once: what it made is there in most cases. Of several, the last look counts.
        return LookAt(due if doubt.sends > 1 else max(doubt.given_up, doubt.not_before))
    ids = looked.ids if doubt.made is None else (doubt.made, *(i for i in looked.ids if i != doubt.made))
    late = looked.at >= due
    if not late and (not ids or doubt.sends > 1 or not looked.sure):
        return LookAt(due)
    if not ids:
        if doubt.applied is Applied.YES:
            return Settled(Fate.UNDECIDED, because=_ABSENT_AFTER_ALL)
        return SendAgain() if may_send and not doubt.refused else Settled(Fate.ABSENT)
    if not looked.sure:
        return Settled(Fate.UNDECIDED, ids, _SOMEBODY_ELSE)
    if len(ids) == 1:
        return Settled(Fate.THERE, ids)
    return Settled(Fate.SEVERAL, ids) if doubt.sends > 1 else Settled(Fate.UNDECIDED, ids, _STRANGER)


def _at_the_latest(created_at: datetime) -> datetime:
    """Return how late a time may be meant: one that has no seconds may have been cut to minutes."""
    return created_at if created_at.second else created_at + timedelta(seconds=59)


def look_result(
    rows: Iterable[IntegrationRow],
    doubt: InDoubt,
    *,
    at: float,
    given: Collection[int] = (),
    rivals: bool = False,
    not_before: datetime | None = None,
    hearsay: bool = False,
) -> Looked:
    """Sort out which rows of a complete answer answer for our sends.

    Args:
        rows: every record that has its key.
        doubt: what is known.
        at: when the look began.
        given: ids that answers gave to other creates.
        rivals: whether another create of the same name is under way, or in doubt.
        not_before: when the first send went out, on the server's clock, as far back as it may have been; ``None``: not
            known.
        hearsay: only a clock that may have been set since says so: what seems to be older may be ours.
    """
    ours = [row for row in rows if row.id not in given and row.id not in (doubt.seen or ())]
    sure = not rivals
    if doubt.seen is None and not_before is not None:
        # Times may be cut to whole seconds. What lies a little further back is ours only if clocks differ.
        whole = not_before.replace(microsecond=0)
        after = [row for row in ours if row.id == doubt.made or (row.created_at and row.created_at >= whole)]
        earliest = whole - timedelta(seconds=CLOCK_MARGIN)
        near = [row for row in ours if row.created_at and _at_the_latest(row.created_at) >= earliest]
        # Of what does not tell when it was created, nobody knows whose it is.
        undated = [row for row in ours if row.created_at is None and row.id != doubt.made]
        sure = sure and bool(after) and not undated
        ours = [*(after or near or (ours if hearsay else ())), *undated]
    elif doubt.seen is None:
        sure = False
    return Looked(at, tuple(dict.fromkeys(row.id for row in ours)), sure or not ours)
