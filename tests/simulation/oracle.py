"""Says what a world broke of what is promised."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from tests.simulation import manners, truth
from tests.simulation.history import Facts, History


class Broken(NamedTuple):
    """A promise, and how it was broken."""

    promise: str
    how: str


PROMISES: Final[dict[str, Callable[[Facts], Iterator[str]]]] = {
    "no duplicate": truth.no_duplicate,
    "every duplicate is named": truth.every_duplicate_is_named,
    "nothing lost": truth.nothing_lost,
    "outcomes are true": truth.outcomes_are_true,
    "reads are complete": truth.reads_are_complete,
    "an action goes out once": truth.an_action_goes_out_once,
    "typed errors": manners.typed_errors,
    "Retry-After is kept": manners.waits_for_retry_after,
    "no dead token": manners.no_dead_token,
    "early deaths of tokens fail nothing": manners.early_deaths_fail_nothing,
    "one refresh at a time": manners.one_refresh_at_a_time,
    "the retry budget": manners.retry_budget,
    "bounded attempts": manners.attempts_are_bounded,
    "the deadline": manners.deadline,
    "a known rate": manners.known_rate,
    "the cancelled are silent": manners.dead_processes_are_silent,
}


def judge(history: History) -> list[Broken]:
    """Return what was broken."""
    facts = Facts(history)
    return [
        *(Broken("nothing is left behind", text) for text in history.troubles),
        *(Broken(*text.partition(": ")[::2]) for text in history.tap.broken),
        *(Broken(promise, how) for promise, check in PROMISES.items() for how in check(facts)),
    ]
