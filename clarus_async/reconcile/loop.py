"""The shell around :func:`clarus_async.reconcile.decide.decide`: waits, looks and sends until a doubt is settled."""

from __future__ import annotations

from typing import Protocol

from clarus_async.reconcile.decide import Fate, InDoubt, LookAt, Looked, SendAgain, Settled, decide
from clarus_async.retry.budget import MOST_UNCOUNTED_503S


class Hands(Protocol):
    """What settling one create needs to be able to do."""

    async def wait(self, at: float) -> bool:
        """Wait until a moment.

        Args:
            at: seconds on the event loop's clock.

        Returns:
            Whether there is time for it.
        """
        ...

    async def look(self) -> Looked | str:
        """Look it up, or say in words why that can't be done."""
        ...

    async def send(self) -> str | None:
        """Send it once more and note in the doubt what became of it, or say in words why that can't be done."""
        ...


async def settle(doubt: InDoubt, hands: Hands, seconds: float, *, most: int) -> Settled:
    """Do what is to be done until it is known what became of a create.

    Args:
        doubt: what is known; what is learned is added.
        hands: do it.
        seconds: how long after an attempt was given up the server may still apply it.
        most: how often it may be sent, the first time included.
    """
    looked: Looked | None = None
    # What earlier runs sent does not count against what this one may do, nor what a rate limiter kept out, nor what had
    # fewer attempts than it was due, as where all others failed as well.
    tries = 1
    while True:
        spared = min(doubt.limited + doubt.starved, MOST_UNCOUNTED_503S)
        step = decide(doubt, looked, seconds, may_send=tries - spared < most)
        if isinstance(step, Settled):
            return step
        if isinstance(step, SendAgain):
            tries += 1
            looked = None
            if (why := await hands.send()) is not None:
                return Settled(Fate.UNDECIDED, because=why)
        else:
            result = await _look(step, looked, hands)
            if isinstance(result, Settled):
                return result
            looked = result


async def _look(step: LookAt, last: Looked | None, hands: Hands) -> Looked | Settled:
    found = () if last is None else last.ids
    if not await hands.wait(step.at):
        return Settled(Fate.UNDECIDED, found, "there was no time left to wait until it is settled")
    result = await hands.look()
    return Settled(Fate.UNDECIDED, found, result) if isinstance(result, str) else result
