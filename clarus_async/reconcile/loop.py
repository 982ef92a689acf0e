"""The shell around ``clarus_async.reconcile.decide.decide``: wait, look up and send until a create is settled."""

from __future__ import annotations

from typing import Protocol

from clarus_async.reconcile.decide import Conclusion, Fate, LookupResult, SendAgain, decide
from clarus_async.reconcile.pending import InDoubt
from clarus_async.retry.budget import MOST_UNCOUNTED_ATTEMPTS


class SettleActions(Protocol):
    """What settling one create needs to be able to do."""

    async def wait(self, at: float) -> bool:
        """Wait until a moment of the event loop's clock; return whether there was time for it."""
        ...

    async def look_up(self) -> LookupResult | str:
        """Look it up, or say in words why that can't be done."""
        ...

    async def send(self) -> str | None:
        """Send it once more and note what became of it, or say in words why that can't be done."""
        ...


async def settle_create(in_doubt: InDoubt, actions: SettleActions, settle: float, *, most_sends: int) -> Conclusion:
    """Do what is to be done until it is known what became of a create.

    Args:
        in_doubt: what is known; what is learned is added.
        actions: what can be done.
        settle: seconds after an attempt was given up in which the server may still apply it.
        most_sends: how often it may be sent, the first time included.
    """
    result: LookupResult | None = None
    # What earlier runs sent does not count against what this one may do, nor what a rate limiter kept out, nor what had
    # fewer attempts than it was due, as where all others failed as well.
    tries = 1
    while True:
        spared = min(in_doubt.rate_limited + in_doubt.budget_exhausted, MOST_UNCOUNTED_ATTEMPTS)
        step = decide(in_doubt, result, settle, may_send_again=tries - spared < most_sends)
        if isinstance(step, Conclusion):
            return step
        if isinstance(step, SendAgain):
            tries += 1
            result = None
            if (reason := await actions.send()) is not None:
                return Conclusion(Fate.UNDECIDED, reason=reason)
        else:
            found = () if result is None else result.ids
            if not await actions.wait(step.at):
                return Conclusion(Fate.UNDECIDED, found, "there was no time left to wait until it is settled")
            answer = await actions.look_up()
            if isinstance(answer, str):
                return Conclusion(Fate.UNDECIDED, found, answer)
            result = answer
