"""What becomes of a create whose outcome is in doubt: a pure decision over what was sent and what was found.

The server has no idempotency key (CLARUS_API.md §3), so a create that may have been applied is looked up by its key
before anything else is done:

* Only a record that was not there before the send may be its result: one that no lookup before the send saw, whose id
  no answer gave to another create, and which, where nobody looked before, was not created before the send on the
  server's clock.
* Found once, it is adopted. Found more than once, it is reported, and none is chosen.
* Not found counts only ``settle`` seconds after the last send was given up, for until then the server may still apply
  it. After that, it is sent again.
* What was sent twice is looked up once more, ``settle`` after its last send ended: that names what came too late.

So there is no duplicate if the server applies within ``settle``, and one that comes later is found and named if it is
there at the last lookup.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, NamedTuple, TypeAlias

from clarus_async.errors import Applied
from clarus_async.reconcile.pending import InDoubt

CLOCK_MARGIN: Final = 2.0
"""Seconds by which ``created_at`` may lie before a send and still be its own: the clocks of a server's machines differ
a little. Whose such a record is, is not certain."""


class LookupResult(NamedTuple):
    """What a lookup tells of a create.

    Args:
        at: when it began.
        ids: the records that answer for our sends.
        sure: whether they are nobody else's: no other create with the same key is under way, and it is known when they
            were created.
    """

    at: float
    ids: tuple[int, ...]
    sure: bool = True


class Fate(StrEnum):
    """What became of a create."""

    THERE = "there"
    ABSENT = "absent"
    SEVERAL = "several"
    UNDECIDED = "undecided"


class LookUp(NamedTuple):
    """Look it up, and not before this."""

    at: float


class SendAgain(NamedTuple):
    """It is not there: send it again."""


class Conclusion(NamedTuple):
    """What became of the create, as far as that can be told.

    Args:
        fate: what became of it.
        ids: what was found; the one that an answer gave comes first.
        reason: why there is not one record for certain, in words.
    """

    fate: Fate
    ids: tuple[int, ...] = ()
    reason: str = ""


Decision: TypeAlias = LookUp | SendAgain | Conclusion

_ABSENT_AFTER_ALL: Final = "the server said that it was created, and it is not in the list"
_SOMEBODY_ELSE: Final = "a record that answers for it may be another create's"
_STRANGER: Final = "several records answer for it, though it was sent once"


def decide(in_doubt: InDoubt, result: LookupResult | None, settle: float, *, may_send_again: bool) -> Decision:
    """Say what is to be done next, by the last lookup since the last send, if there was one.

    Nothing is applied ``settle`` seconds after it was given up.
    """
    if in_doubt.sends == 0:
        return SendAgain() if may_send_again else Conclusion(Fate.ABSENT)
    due = max(in_doubt.given_up + settle, in_doubt.retry_at)
    if result is None:
        # One send is worth a lookup at once: what it made is there in most cases. Of several, the last one counts.
        return LookUp(due if in_doubt.sends > 1 else max(in_doubt.given_up, in_doubt.retry_at))
    known = in_doubt.answered_id
    ids = result.ids if known is None else (known, *(i for i in result.ids if i != known))
    late = result.at >= due
    if not late and (not ids or in_doubt.sends > 1 or not result.sure):
        return LookUp(due)
    if not ids:
        if in_doubt.applied is Applied.YES:
            return Conclusion(Fate.UNDECIDED, reason=_ABSENT_AFTER_ALL)
        return SendAgain() if may_send_again and not in_doubt.refused else Conclusion(Fate.ABSENT)
    if not result.sure:
        return Conclusion(Fate.UNDECIDED, ids, _SOMEBODY_ELSE)
    if len(ids) == 1:
        return Conclusion(Fate.THERE, ids)
    if in_doubt.sends == 1:
        return Conclusion(Fate.UNDECIDED, ids, _STRANGER)
    return Conclusion(Fate.SEVERAL, ids, f"it was sent {in_doubt.sends} times, and {len(ids)} records answer for it")


def _at_the_latest(created_at: datetime) -> datetime:
    """Return how late a time may be meant: one that has no seconds may have been cut to minutes."""
    return created_at if created_at.second else created_at + timedelta(seconds=59)


def lookup_result(
    rows: Iterable[Any],
    in_doubt: InDoubt,
    *,
    at: float,
    given: Collection[int] = (),
    contested: bool = False,
    not_before: datetime | None = None,
    clock_uncertain: bool = False,
    created_since: Collection[int] = (),
) -> LookupResult:
    """Sort out which rows of a complete answer may be the result of our sends.

    Args:
        rows: every record that has its key.
        in_doubt: what is known.
        at: when the lookup began.
        given: ids that answers gave to other creates.
        contested: whether another create with the same key is under way, or in doubt.
        not_before: when the first send went out, on the server's clock, as far back as it may have been; ``None``: not
            known.
        clock_uncertain: ``not_before`` is from a clock that may have been set since: rows that look older may be ours.
        created_since: ids of rows that do not show when they were created, and that a search by the time of creation
            found to be no older than the first send.
    """
    ours = [row for row in rows if row.id not in given and row.id not in (in_doubt.seen or ())]
    sure = not contested
    if in_doubt.seen is None and not_before is not None:
        # What lies a little further back is ours only if clocks differ.
        whole = search_from(not_before)
        known = in_doubt.answered_id
        # Not every resource's list tells when a row was created.
        times = {row.id: whole if row.id in created_since else getattr(row, "created_at", None) for row in ours}
        after = [row for row in ours if row.id == known or ((time := times[row.id]) and time >= whole)]
        earliest = whole - timedelta(seconds=CLOCK_MARGIN)
        near = [row for row in ours if (time := times[row.id]) and _at_the_latest(time) >= earliest]
        # Of what does not tell when it was created, nobody knows whose it is; but where a search found what is new, the
        # rest is old. A search that found nothing proves nothing: we would send again what another clock made older.
        searched = any(row.id in created_since for row in ours)
        undated = [row for row in ours if times[row.id] is None and row.id != known and not searched]
        sure = sure and bool(after) and not undated
        ours = [*(after or near or (ours if clock_uncertain else ())), *undated]
    elif in_doubt.seen is None:
        sure = False
    return LookupResult(at, tuple(dict.fromkeys(row.id for row in ours)), sure or not ours)


def search_from(not_before: datetime) -> datetime:
    """Return from when on a record that was created may be ours: times may be cut to whole seconds."""
    return not_before.replace(microsecond=0)
