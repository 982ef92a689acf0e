"""What is known of each tenant of a client, for as long as it has to be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from clarus_async.auth.token import TokenRefusals
from clarus_async.ratelimit.queue import RequestQueue
from clarus_async.retry.budget import RetryBudget

# Some 5 KiB each, so 20 MiB in all.
_MOST_TENANTS: Final = 4096


class TenantState:
    """What is known of one tenant, on one event loop."""

    def __init__(self, queue: RequestQueue, now: float) -> None:
        self.queue: RequestQueue = queue
        self.budget: RetryBudget = RetryBudget(now)
        # Of its own: creates that fail must not use up what settles them.
        self.lookup_budget: RetryBudget = RetryBudget(now)
        self.called_at: float = now  # when it was asked for last, in seconds on the loop's clock
        self.refusals: TokenRefusals = TokenRefusals()
        self.most_rows: int | None = None  # of a page, once more were refused for their cost
        self.resources: dict[str, Any] = {}  # what reconcile knows of its resources, by name

    def forgettable(self, name: str, now: float) -> bool:
        """Whether all that is known of it would be learned again: nothing is under way, in doubt or held back."""
        return (
            name not in self.queue.tenants
            and all(resource.idle(now) for resource in self.resources.values())
            and self.refusals.wait(now) == 0.0
            and self.budget.full(now)
            and self.lookup_budget.full(now)
        )

    def retry_budget(self, *, reconciles: bool) -> RetryBudget:
        """Return the budget that a call's retries come from."""
        return self.lookup_budget if reconciles else self.budget


def not_bound() -> float:
    """Return what time it is before there is an event loop."""
    return 0.0


class Tenants:
    """The tenants of a client on one event loop; those that were called longest ago are forgotten.

    ``new_queue`` makes the queue of a tenant, or of all together (``None``), where they have one limit.
    """

    def __init__(self, new_queue: Callable[[str | None], RequestQueue], *, one_limit: bool) -> None:
        self.clock: Callable[[], float] = not_bound
        """The event loop's, as soon as there is one."""
        self._new_queue = new_queue
        self._one_limit = one_limit
        self._common_queue: RequestQueue | None = None
        self._states: dict[str, TenantState] = {}
        self._most = _MOST_TENANTS

    def reset(self) -> Iterable[object]:
        """Begin afresh, and return what there was."""
        before = self._common_queue, self._states
        self._states = {}
        self.clock = not_bound
        self._most = _MOST_TENANTS
        self._common_queue = self._new_queue(None) if self._one_limit else None
        return before

    def __len__(self) -> int:
        return len(self._states)

    def __iter__(self) -> Iterator[TenantState]:
        return iter(self._states.values())

    def get(self, subdomain: str) -> TenantState:
        """Return what is known of a tenant, and keep it for a while."""
        state = self._states.get(subdomain)
        now = self.clock()
        if state is None:
            self._forget_idle(now)
            state = self._states[subdomain] = TenantState(self._queue(subdomain), now)
        state.called_at = now
        return state

    def queue(self, subdomain: str) -> RequestQueue:
        """Return the queue of a tenant, which does not count as calling it."""
        state = self._states.get(subdomain)
        return self._queue(subdomain) if state is None else state.queue

    def _queue(self, subdomain: str) -> RequestQueue:
        return self._common_queue or self._new_queue(subdomain)

    def _forget_idle(self, now: float) -> None:
        if len(self._states) < self._most:
            return
        for name in sorted(self._states, key=lambda name: self._states[name].called_at):
            if len(self._states) <= _MOST_TENANTS // 2:
                break
            state = self._states[name]
            # A rate limit that all tenants share is not forgotten with one of them.
            if state.forgettable(name, now) and (self._common_queue is not None or state.queue.idle(now)):
                del self._states[name]
        # Where few could be forgotten, the next look waits until there are twice as many.
        self._most = max(_MOST_TENANTS, 2 * len(self._states))
