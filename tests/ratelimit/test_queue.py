"""The queue: never more connections in use than there are, in turn, and nothing that a waiter takes with it."""

from __future__ import annotations

import asyncio
import functools
import itertools
import math
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from clarus_async.config import PacingPolicy
from clarus_async.ratelimit.headers import RateLimitHeaders
from clarus_async.ratelimit.limiter import AdaptiveRateLimiter
from clarus_async.ratelimit.pace import PaceSource
from clarus_async.ratelimit.queue import ConnectionLimiter, RequestQueue, Traffic
from tests.support.virtual import VirtualLoop, now, settle, virtual

FOREVER = 1e8


class Counting(AdaptiveRateLimiter):
    """Counts how often it is asked, and stops whoever spins."""

    asked = 0

    @property
    def in_flight(self):
        return len(self._out)

    def ask(self, now):
        self.asked += 1
        assert self.asked < 10_000, "it spins"
        return super().ask(now)


class Open(Counting):
    """Holds nobody back."""

    def ask(self, now):
        return 0.0


def queue_of(limiter, width, **policy):
    return RequestQueue(ConnectionLimiter(width), limiter(PacingPolicy(**policy)))


def enter(queue):
    """Take a slot and a connection at once; ``None`` where that can't be."""
    return queue._connections.try_acquire(queue, now())


async def wait_in(queue):
    return await queue._connections.acquire(queue, "acme", FOREVER)


def refused(queue, sent, retry_after):
    queue.refused(sent, now(), retry_after)
    queue.release(sent)


def paused(seconds=10.0, connections=None):
    """A queue whose first request was just refused, with so many seconds of Retry-After."""
    queue = RequestQueue(ConnectionLimiter(100) if connections is None else connections, Counting(PacingPolicy()))
    refused(queue, enter(queue), seconds)
    return queue


def acquiring(queue, count, tenant="acme", patience=FOREVER, *, priority=False):
    connections = queue._connections
    return [asyncio.create_task(connections.acquire(queue, tenant, patience, priority=priority)) for _ in range(count)]


def rejoining(queue, count, tenant="acme", *, priority=False):
    """Like those that wait for their turn, and join again where they are woken to decide whether to wait on."""

    async def acquire():
        while (sent := await queue._connections.acquire(queue, tenant, None, priority=priority)) is None:
            pass
        return sent

    return [asyncio.create_task(acquire()) for _ in range(count)]


def gone(tasks):
    """The numbers of those whose turn came."""
    return [number for number, task in enumerate(tasks) if task.done() and not task.cancelled() and task.result()]


def answered(queue, sent):
    queue.answered(sent, now())
    queue.release(sent)


async def busy(queue, count, seconds=0.02, path=""):
    """Have requests answered one after the other."""
    for _ in range(count):
        sent = enter(queue)
        await asyncio.sleep(seconds)
        queue.answered(sent, now(), path=path)
        queue.release(sent)


def timers():
    return [handle for handle in asyncio.get_running_loop()._scheduled if not handle.cancelled()]


async def answer_all(queue, tasks, seconds=0.05):
    """Answer each request after a while, as long as turns come; return the order in which they came."""
    order = []

    async def send(number, task):
        sent = await task
        order.append(number)
        await asyncio.sleep(seconds)
        answered(queue, sent)

    await asyncio.gather(*(send(number, task) for number, task in enumerate(tasks)))
    return order


async def cancel(*tasks):
    for task in tasks:
        task.cancel()
    await settle()


def connections_and_queues(width, count=1):
    connections = ConnectionLimiter(width)
    return connections, *(RequestQueue(connections, Open(PacingPolicy())) for _ in range(count))


def try_acquire(connections, queue):
    """Take a turn and a connection at once, and return how to release; ``None`` where that can't be."""
    sent = connections.try_acquire(queue, now())
    return None if sent is None else functools.partial(queue.release, sent)


async def acquire(connections, queue, tenant="acme", patience=FOREVER):
    """Wait, and return how to release; ``None`` where nothing came of it."""
    sent = await connections.acquire(queue, tenant, patience)
    return None if sent is None else functools.partial(queue.release, sent)


def entering(connections, *queues, tenant="acme", patience=FOREVER):
    """Start a waiter in each queue, in this order."""
    return [asyncio.create_task(acquire(connections, queue, tenant, patience)) for queue in queues]


async def order_of_entry(release, tasks):
    """Release the one connection again and again, and note who gets it; ``release`` is how its first holder does."""
    order = []
    waiting = dict(enumerate(tasks))
    while waiting:
        release()
        await settle()
        [number] = [number for number, task in waiting.items() if task.done()]
        order.append(number)
        release = waiting.pop(number).result()
    release()
    return order


async def release_all(connections, release, tasks):
    """Let one out after another until all that wait had their turn."""
    waiting = [task for task in tasks if not task.done()]
    await order_of_entry(release, waiting)
    assert connections.busy == 0


class TestConnections:
    @virtual
    async def test_as_many_as_it_is_wide_go_at_once(self):
        connections, queue = connections_and_queues(3)
        assert all([await acquire(connections, queue) for _ in range(3)])
        assert connections.busy == 3
        assert now() == 0

    @virtual
    async def test_its_width_counts_over_all_queues(self):
        connections, *queues = connections_and_queues(2, 3)
        assert [try_acquire(connections, queue) is not None for queue in queues] == [True, True, False]

    @virtual
    async def test_nobody_overtakes_who_waits(self):
        connections, one, other = connections_and_queues(1, 2)
        release = try_acquire(connections, one)
        [waiter] = entering(connections, one)
        await settle()
        release()
        # The slot is the waiter's already, though it has not run yet.
        assert not try_acquire(connections, one)
        assert not try_acquire(connections, other)
        assert await waiter

    @virtual
    async def test_who_waits_for_a_connection_can_be_told_from_who_waits_for_the_pace(self):
        connections, full, other = connections_and_queues(1, 2)
        release = try_acquire(connections, full)
        assert not connections.is_bottleneck(full, now())
        tasks = entering(connections, full)
        await settle()
        assert (connections.is_bottleneck(full, now()), connections.is_bottleneck(other, now())) == (True, False)
        release()
        assert not connections.is_bottleneck(full, now())
        await asyncio.gather(*tasks)


class TestTurns:
    @virtual
    async def test_first_come_first_served_within_a_tenant(self):
        connections, queue = connections_and_queues(1)
        release = try_acquire(connections, queue)
        tasks = entering(connections, *[queue] * 5)
        await settle()
        assert await order_of_entry(release, tasks) == [0, 1, 2, 3, 4]

    @pytest.mark.parametrize("shared", [True, False])
    @virtual
    async def test_round_robin_over_queues_and_over_the_tenants_of_one(self, shared):
        connections, *queues = connections_and_queues(1, 3)
        at = dict.fromkeys("abc", queues[0]) if shared else dict(zip("abc", queues, strict=True))
        release = try_acquire(connections, queues[0])
        tasks = [task for tenant in "aaaabbc" for task in entering(connections, at[tenant], tenant=tenant)]
        await settle()
        assert await order_of_entry(release, tasks) == [0, 4, 6, 1, 5, 2, 3]

    @virtual
    async def test_a_queue_that_comes_late_waits_one_round_at_most(self):
        connections, a, b = connections_and_queues(1, 2)
        release = try_acquire(connections, a)
        tasks = entering(connections, *[a] * 100)
        await settle()
        [late] = entering(connections, b)
        await settle()
        release()
        release = await tasks[0]
        release()
        release = await late
        assert sum(task.done() for task in tasks) == 1
        await release_all(connections, release, tasks)

    @pytest.mark.parametrize("shared", [True, False])
    @virtual
    async def test_waiters_that_left_cost_neither_their_queue_nor_their_tenant_a_turn(self, shared):
        connections, a, b = connections_and_queues(1, 2)
        release = try_acquire(connections, a)
        left = entering(connections, *[a] * 10, tenant="a")
        [patient] = entering(connections, a, tenant="a")
        others = entering(connections, *[a if shared else b] * 10, tenant="b")
        await settle()
        await cancel(*left)
        # Tenant a came first and has one live waiter: the next free slot is its.
        assert (await order_of_entry(release, [patient, *others]))[0] == 0

    @given(
        arrivals=st.lists(st.sampled_from("abc"), max_size=20),
        width=st.integers(1, 4),
        shared=st.booleans(),
    )
    @settings(max_examples=60, deadline=None)
    @virtual
    async def test_no_tenant_gets_two_turns_while_another_waits(self, arrivals, width, shared):
        connections, *queues = connections_and_queues(width, 3)
        at = dict.fromkeys("abc", queues[0]) if shared else dict(zip("abc", queues, strict=True))
        releases = [try_acquire(connections, queues[0]) for _ in range(width)]
        entered = []

        async def wait(tenant):
            releases.append(await acquire(connections, at[tenant], tenant))
            entered.append(tenant)

        tasks = [asyncio.create_task(wait(tenant)) for tenant in arrivals]
        await settle()
        for number in itertools.count():
            if number == len(releases):
                break
            releases[number]()
            await settle()
        assert all(task.done() for task in tasks)
        assert connections.busy == 0
        for i, tenant in enumerate(entered):
            # Everybody was there from the start: until its next turn, each other tenant with some left has one.
            rest = entered[i + 1 :]
            if tenant not in rest:
                continue
            until_next = rest[: rest.index(tenant)]
            assert set(rest) - {tenant} == set(until_next)


class TestLeavingTheConnections:
    @virtual
    async def test_patience_may_have_no_end(self):
        connections, queue = connections_and_queues(1)
        release = try_acquire(connections, queue)
        [endless] = entering(connections, queue, patience=None)
        await settle()
        assert asyncio.get_running_loop()._scheduled == []
        await asyncio.sleep(80_000.0)
        assert not endless.done()
        release()
        release = await endless
        release()
        assert connections.busy == 0

    @virtual
    async def test_a_slot_passes_over_who_lost_patience(self):
        connections, queue = connections_and_queues(1)
        release = try_acquire(connections, queue)
        [short] = entering(connections, queue, patience=1.0)
        [long] = entering(connections, queue)
        await asyncio.sleep(2.0)
        release()
        assert await long
        assert await short is None

    @virtual
    async def test_a_slot_that_comes_as_patience_ends_is_kept_or_was_never_given(self):
        connections, queue = connections_and_queues(1)
        release = try_acquire(connections, queue)
        [waiter] = entering(connections, queue, patience=1.0)
        await settle()
        asyncio.get_running_loop().call_at(1.0, release)
        inside = await waiter
        assert connections.busy == queue.pace.in_flight == (1 if inside else 0)

    @pytest.mark.parametrize("turns", range(6))
    @pytest.mark.parametrize("shared", [True, False])
    @virtual
    async def test_cancelling_at_any_turn_of_the_loop_loses_no_slot(self, turns, shared):
        connections, one, other = connections_and_queues(1, 2)
        release = try_acquire(connections, one)
        tasks = entering(connections, one, one, one if shared else other)
        await settle(1)
        release()
        for _ in range(turns):
            await asyncio.sleep(0)
        tasks[0].cancel()
        await settle()
        if not tasks[0].cancelled():
            tasks[0].result()()
        release = await tasks[1] if shared else await tasks[2]
        assert connections.busy == 1
        release()
        release = await tasks[2] if shared else await tasks[1]
        assert connections.busy == 1
        release()
        assert connections.busy == one.pace.in_flight == other.pace.in_flight == 0
        assert try_acquire(connections, one)

    @pytest.mark.parametrize("slots_come_first", [True, False])
    @virtual
    async def test_everybody_who_waits_may_be_cancelled(self, slots_come_first):
        connections, *queues = connections_and_queues(2, 3)
        releases = [try_acquire(connections, queues[0]) for _ in range(2)]
        tasks = entering(connections, *queues * 2)
        await settle()
        if slots_come_first:
            for release in releases:
                release()
        await cancel(*tasks)
        if not slots_come_first:
            for release in releases:
                release()
        assert all(task.cancelled() for task in tasks)
        assert connections.busy == 0
        assert all(not queue.tenants for queue in queues)
        assert all(try_acquire(connections, queue) for queue in queues[:2])

    @virtual
    async def test_waiting_counts_only_who_still_waits(self):
        connections, queue = connections_and_queues(1)
        release = try_acquire(connections, queue)
        tasks = entering(connections, queue, queue) + entering(connections, queue, tenant="globex")
        await settle()
        assert [queue.waiting(tenant) for tenant in ("acme", "globex", "other")] == [2, 1, 0]
        tasks[0].cancel()
        await settle()
        assert queue.waiting("acme") == 1
        await release_all(connections, release, tasks)
        assert queue.waiting("acme") == 0


class TestClosingConnections:
    @virtual
    async def test_a_slot_that_comes_free_after_it_closed_is_given_to_nobody(self):
        connections, queue = connections_and_queues(1)
        release = try_acquire(connections, queue)
        [waiter] = entering(connections, queue)
        await settle()
        connections.close()
        release()
        assert connections.busy == 0
        queue.close()
        assert await waiter is None

    @virtual
    async def test_who_was_given_a_slot_before_it_closed_keeps_it(self):
        connections, queue = connections_and_queues(1)
        release = try_acquire(connections, queue)
        [waiter] = entering(connections, queue)
        await settle()
        release()
        connections.close()
        queue.close()
        release = await waiter
        assert connections.busy == 1
        release()
        assert connections.busy == 0

    @virtual
    async def test_draining_waits_for_the_last_one(self):
        connections, queue = connections_and_queues(2)
        releases = [try_acquire(connections, queue) for _ in range(2)]
        connections.close()
        asyncio.get_running_loop().call_at(3.0, releases[0])
        asyncio.get_running_loop().call_at(5.0, releases[1])
        await connections.drain(FOREVER)
        assert now() == 5.0

    @virtual
    async def test_draining_again_waits_on(self):
        connections, queue = connections_and_queues(1)
        release = try_acquire(connections, queue)
        connections.close()
        await connections.drain(7.0)
        assert now() == 7.0
        asyncio.get_running_loop().call_at(9.0, release)
        await connections.drain(7.0)
        assert now() == 9.0

    @virtual
    async def test_draining_takes_no_time_where_nothing_is_in_use(self):
        connections, _ = connections_and_queues(1)
        connections.close()
        await connections.drain(FOREVER)
        assert now() == 0

    @virtual
    async def test_who_gives_up_waiting_for_the_last_one_takes_nobody_with_it(self):
        connections, queue = connections_and_queues(1)
        release = try_acquire(connections, queue)
        connections.close()
        first, second = (asyncio.create_task(connections.drain(100.0)) for _ in range(2))
        await settle()
        first.cancel()
        asyncio.get_running_loop().call_at(3.0, release)
        await second
        assert now() == 3.0


class TestPauseProbeRest:
    @virtual
    async def test_nobody_goes_in_at_once_during_a_pause(self):
        queue = paused(10.0)
        assert enter(queue) is None
        await asyncio.sleep(10.0)
        assert enter(queue)
        # That was the probe.
        assert enter(queue) is None
        assert queue._connections.busy == queue.pace.in_flight == 1

    @virtual
    async def test_one_probe_goes_after_it_and_the_rest_wait_for_its_answer(self):
        queue = paused(10.0)
        tasks = acquiring(queue, 4)
        probe = await tasks[0]
        assert now() == 10.0
        await asyncio.sleep(90.0)
        assert gone(tasks) == [0]
        answered(queue, probe)
        assert await answer_all(queue, tasks[1:]) == [0, 1, 2]
        assert queue.pace.in_flight == 0

    @virtual
    async def test_a_refused_probe_begins_another_pause(self):
        queue = paused(10.0)
        tasks = rejoining(queue, 2)
        probe = await tasks[0]
        refused(queue, probe, 20.0)
        assert await tasks[1]
        assert now() == 30.0

    @virtual
    async def test_a_probe_without_an_answer_hands_over(self):
        queue = paused(10.0)
        tasks = acquiring(queue, 2)
        queue.release(await tasks[0])
        assert await tasks[1]
        assert now() == 10.0

    @virtual
    async def test_a_probe_that_goes_at_the_very_moment_of_the_refusal_is_heard(self):
        """Retry-After: 0, and a clock that shows the same to both: uvloop's has whole milliseconds."""
        queue = paused(0.0)
        tasks = acquiring(queue, 5)
        assert await answer_all(queue, tasks, seconds=0.0) == [0, 1, 2, 3, 4]

    @virtual
    async def test_a_longer_pause_while_it_is_on_holds_everybody_longer(self):
        queue = queue_of(Counting, 9)
        first, second = (enter(queue) for _ in range(2))
        refused(queue, first, 10.0)
        [task] = rejoining(queue, 1)
        await asyncio.sleep(5.0)
        refused(queue, second, 20.0)
        assert await task
        assert now() == 25.0

    @virtual
    async def test_a_pause_without_end_to_patience_is_waited_for(self):
        queue = paused(3600.0)
        [task] = acquiring(queue, 1, patience=None)
        assert await task
        assert now() == 3600.0

    @virtual
    async def test_without_retry_after_turns_come_too(self):
        queue = paused(None)
        for _ in range(5):
            sent = await wait_in(queue)
            refused(queue, sent, None)
        assert await answer_all(queue, acquiring(queue, 5)) == [0, 1, 2, 3, 4]

    def test_a_timer_that_fires_a_shade_early_does_not_ask_again_and_again(self):
        """Loops may run a timer up to their clock's resolution before its time; a virtual clock then stands still."""

        async def check():
            queue = paused(1.4618922787636765)
            answered(queue, await wait_in(queue))
            assert queue.pace.asked < 20
            for _ in range(20):
                answered(queue, await wait_in(queue))
            assert queue.pace.asked < 200

        with asyncio.Runner(loop_factory=CoarseLoop) as runner:
            runner.get_loop().set_exception_handler(lambda loop, context: loop.stop())
            runner.run(check())


class TestUnavailable:
    @virtual
    async def test_a_limiters_503_is_a_refusal(self):
        queue = queue_of(Counting, 100)
        await busy(queue, 40)
        assert queue.pace.source is PaceSource.NONE
        sent = enter(queue)
        assert queue.unavailable(sent, now(), None)
        queue.release(sent)
        assert queue.pace.source is PaceSource.LEARNED

    @virtual
    async def test_a_servers_503_is_none_and_where_nobody_gets_through_it_is_waited_out(self):
        queue = queue_of(Counting, 100)
        sent = enter(queue)
        assert not queue.unavailable(sent, now(), 3.0)
        queue.release(sent)
        assert (queue.pace.rate, queue.pace.pause(now())) == (None, 3.0)
        assert enter(queue) is None
        await asyncio.sleep(3.0)
        assert enter(queue) is not None

    @virtual
    async def test_a_gateways_503_holds_nobody_else_back_where_others_get_through(self):
        queue = queue_of(Counting, 100)
        slow = enter(queue)
        await busy(queue, 50, 0.05)
        assert not queue.unavailable(slow, now(), 30.0)
        queue.release(slow)
        assert (queue.pace.rate, queue.pace.pause(now())) == (None, 0.0)

    @virtual
    async def test_one_path_that_is_down_says_nothing_of_the_others(self):
        queue = queue_of(Counting, 100)
        await busy(queue, 40, path="/api/integrations")
        sent = enter(queue)
        assert not queue.unavailable(sent, now(), None, path="/graphql")
        queue.release(sent)
        assert queue.pace.rate is None

    @virtual
    async def test_503s_that_no_slower_pace_avoids_are_no_limiters(self):
        class Falling(Open):
            rate = None
            forgotten = 0

            def forget(self):
                self.forgotten += 1

        queue = queue_of(Falling, 9)
        sent = enter(queue)
        await asyncio.sleep(0.1)
        answered(queue, sent)
        for rate, forgotten in ((100.0, 0), (50.0, 0), (1.0, 1)):
            queue.pace.rate = rate
            sent = enter(queue)
            assert queue.unavailable(sent, now(), None)
            queue.release(sent)
            assert queue.pace.forgotten == forgotten

    @virtual
    async def test_a_long_wait_sends_those_away_who_wait_already(self):
        queue = paused(1.0)
        waiting = acquiring(queue, 2)
        await settle()
        sent = queue.pace.send(now())
        assert not queue.unavailable(sent, now(), 60.0)
        await settle()
        assert [task.done() and task.result() is None for task in waiting] == [True, True]


class TestIdle:
    @virtual
    async def test_who_has_somebody_waiting_is_not_idle(self):
        queue = paused(1.0)
        [waiting] = acquiring(queue, 1)
        await settle()
        assert queue.idle(now() + 60.0) == 0.0
        await asyncio.sleep(2.0)
        queue.release(await waiting)
        assert queue.idle(now() + 60.0) == pytest.approx(60.0, abs=1.5)


class CoarseLoop(VirtualLoop):
    """A timer runs as soon as its time rounds to what the clock shows."""

    def call_at(self, when, callback, *args, context=None):
        return super().call_at(math.floor(when * 1e6) / 1e6, callback, *args, context=context)


class TestTimers:
    @virtual
    async def test_one_timer_serves_a_line_however_long_it_is(self):
        connections = ConnectionLimiter(100)
        queues = [paused(10.0, connections) for _ in range(3)]
        tasks = [task for queue in queues for task in acquiring(queue, 50)]
        await settle()
        # Beside the one of each waiter's patience.
        assert len(timers()) == 150 + 3
        await cancel(*tasks)
        assert len(timers()) == 3

    @virtual
    async def test_nobody_asks_while_nothing_happens(self):
        queue = paused(3600.0)
        tasks = acquiring(queue, 100)
        await settle()
        asked = queue.pace.asked
        assert asked <= 102
        await asyncio.sleep(3599.0)
        assert queue.pace.asked == asked
        probe = await tasks[0]
        assert queue.pace.asked <= asked + 2
        # Nor while they wait for the probe's answer.
        asked = queue.pace.asked
        await asyncio.sleep(3600.0)
        assert queue.pace.asked == asked
        queue.release(probe)
        await cancel(*tasks)

    @virtual
    async def test_nobody_asks_while_all_connections_are_in_use(self):
        connections = ConnectionLimiter(1)
        other = RequestQueue(connections, Open(PacingPolicy()))
        inside = connections.try_acquire(other, now())
        queue = RequestQueue(connections, Counting(PacingPolicy()))
        tasks = acquiring(queue, 10)
        await settle()
        asked = queue.pace.asked
        await asyncio.sleep(3600.0)
        assert queue.pace.asked == asked
        other.release(inside)
        assert await answer_all(queue, tasks) == list(range(10))

    @virtual
    async def test_a_line_that_everybody_left_asks_no_more(self):
        queue = paused(10.0)
        await cancel(*acquiring(queue, 5))
        await asyncio.sleep(10.0)
        asked = queue.pace.asked
        assert (timers(), queue.tenants) == ([], {})
        await asyncio.sleep(3600.0)
        assert queue.pace.asked == asked


class TestLeavingTheLine:
    @virtual
    async def test_regression_hikari_cancelling_one_waiter_does_not_kill_the_limiter(self):
        """hikari's buckets awaited one shared future: cancelling one waiter ended the limiter for everybody."""
        queue = paused(10.0)
        tasks = acquiring(queue, 3)
        await settle()
        await cancel(tasks[0])
        probe = await tasks[1]
        assert now() == 10.0
        answered(queue, probe)
        sent = await tasks[2]
        began = now()
        refused(queue, sent, 5.0)
        assert await wait_in(queue)
        assert now() == pytest.approx(began + 5.0)

    @virtual
    async def test_a_late_429_between_a_probe_s_turn_and_its_cancellation_does_not_kill_the_limiter(self):
        queue = queue_of(Counting, 9)
        first, second = (enter(queue) for _ in range(2))
        refused(queue, first, 10.0)
        tasks = acquiring(queue, 2)
        await settle()

        def turn_comes_then_late_refusal_then_cancel():
            queue.serve_soon()
            refused(queue, second, 5.0)
            tasks[0].cancel()

        asyncio.get_running_loop().call_at(10.0, turn_comes_then_late_refusal_then_cancel)
        assert await tasks[1]
        assert tasks[0].cancelled()
        assert now() == 15.0

    @pytest.mark.parametrize("turns", range(6))
    @virtual
    async def test_cancelling_at_any_turn_of_the_loop_keeps_it_alive(self, turns):
        queue = paused(10.0)
        tasks = acquiring(queue, 2)
        await asyncio.sleep(5.0)
        await asyncio.sleep(5.0)
        for _ in range(turns):
            await asyncio.sleep(0)
        tasks[0].cancel()
        await settle()
        if not tasks[0].cancelled():
            queue.release(tasks[0].result())
        assert await tasks[1]
        assert queue.pace.in_flight == queue._connections.busy == 1

    @virtual
    async def test_patience_that_ends_as_the_turn_comes_leaves_nothing_behind(self):
        queue = paused(10.0)
        tasks = acquiring(queue, 3, patience=10.0)
        await asyncio.sleep(10.0)
        await settle()
        assert all(task.done() for task in tasks)
        assert queue.pace.in_flight == queue._connections.busy == len(gone(tasks)) <= 1

    @virtual
    async def test_who_comes_once_the_pace_is_open_again_queues_behind_the_line(self):
        queue = queue_of(Counting, 9, rate=2.0, burst=1)
        assert enter(queue)
        tasks = acquiring(queue, 2)
        await asyncio.sleep(0.49)
        # By now the pace may let somebody go, but its timer has not fired.
        queue._timer.cancel()
        await asyncio.sleep(0.011)
        assert queue.pace.ask(now()) == 0.0
        assert enter(queue) is None
        tasks += acquiring(queue, 1)
        await settle()
        assert gone(tasks) == [0]
        await asyncio.sleep(0.6)
        assert gone(tasks) == [0, 1]
        await cancel(*tasks)


class TestComingBack:
    @virtual
    async def test_who_was_refused_goes_before_those_that_had_no_turn(self):
        queue = paused(10.0)
        tasks = acquiring(queue, 3)
        await settle()
        tasks += acquiring(queue, 1, priority=True)
        assert await answer_all(queue, tasks) == [3, 0, 1, 2]

    @virtual
    async def test_it_goes_before_no_other_tenant(self):
        queue = paused(10.0)
        tasks = acquiring(queue, 2, "a") + acquiring(queue, 2, "b")
        await settle()
        tasks += acquiring(queue, 1, "b", priority=True)
        assert await answer_all(queue, tasks) == [0, 4, 1, 2, 3]

    @virtual
    async def test_they_keep_it_however_late_the_next_comes_back(self):
        queue = paused(10.0)
        tasks = acquiring(queue, 2) + acquiring(queue, 2, priority=True)
        await asyncio.sleep(1.0)
        tasks += acquiring(queue, 1) + acquiring(queue, 1, priority=True)
        assert await answer_all(queue, tasks) == [2, 3, 5, 0, 1, 4]


class TestSentAway:
    """Whoever waits already may not want to wait for a pause that is much longer."""

    @staticmethod
    async def lengthen(*seconds, join):
        """Have a pause until 11 s, somebody join, and refusals at 6 s that tell of other pauses."""
        queue = queue_of(Counting, 9, start=1e6)
        await asyncio.sleep(1.0)
        first, *others = (enter(queue) for _ in range(1 + len(seconds)))
        refused(queue, first, 10.0)
        tasks = join(queue)
        await asyncio.sleep(5.0)
        for sent, pause in zip(others, seconds, strict=True):
            refused(queue, sent, pause)
        await settle()
        return queue, tasks

    @virtual
    async def test_a_refusal_that_lengthens_the_pause_much_sends_everybody_in_line_away(self):
        queue, tasks = await self.lengthen(
            10.1, join=lambda at: acquiring(at, 2) + acquiring(at, 1, priority=True) + acquiring(at, 1, "globex")
        )
        assert await asyncio.gather(*tasks) == [None] * 4
        assert now() == 6.0
        assert queue.tenants == {}
        assert queue.pace.in_flight == queue._connections.busy == 0

    @pytest.mark.parametrize("pause", [None, 0.0, 1.0, 5.0, 9.9])
    @virtual
    async def test_one_that_lengthens_it_little_sends_nobody_away(self, pause):
        _, tasks = await self.lengthen(pause, join=lambda at: acquiring(at, 3))
        assert [task.done() for task in tasks] == [False] * 3
        assert await tasks[0]
        assert now() == pytest.approx(max(11.0, 6.0 + (pause or 0.0)))
        await cancel(*tasks)

    @virtual
    async def test_each_that_lengthens_it_little_counts_by_itself(self):
        _, tasks = await self.lengthen(9.0, 13.0, join=lambda at: acquiring(at, 3))
        assert [task.done() for task in tasks] == [False] * 3
        await cancel(*tasks)

    @virtual
    async def test_they_keep_their_order_where_they_join_again(self):
        queue, tasks = await self.lengthen(60.0, join=lambda at: rejoining(at, 4) + rejoining(at, 2, priority=True))
        tasks += rejoining(queue, 2) + rejoining(queue, 1, priority=True)
        assert await answer_all(queue, tasks) == [4, 5, 8, 0, 1, 2, 3, 6, 7]

    @virtual
    async def test_tenants_keep_their_turns_where_they_join_again(self):
        queue, tasks = await self.lengthen(
            60.0, join=lambda at: rejoining(at, 3, "a") + rejoining(at, 2, "b") + rejoining(at, 1, "c")
        )
        assert await answer_all(queue, tasks) == [0, 3, 5, 1, 4, 2]

    @virtual
    async def test_they_are_sent_away_as_often_as_it_lengthens(self):
        queue, tasks = await self.lengthen(20.0, 40.0, 60.0, join=lambda at: rejoining(at, 3))
        assert queue.waiting("acme") == 3
        assert await answer_all(queue, tasks) == [0, 1, 2]

    @virtual
    async def test_a_turn_that_came_already_is_kept(self):
        queue = paused(10.0)
        tasks = acquiring(queue, 2)
        await settle()

        def turn_comes_then_the_line_is_sent_away():
            queue.serve_soon()
            queue._wake_all()

        asyncio.get_running_loop().call_at(10.0, turn_comes_then_the_line_is_sent_away)
        assert await tasks[0]
        assert await tasks[1] is None

    @virtual
    async def test_who_is_cancelled_as_it_is_sent_away_leaves_nothing_behind(self):
        queue = paused(10.0)
        tasks = acquiring(queue, 2)
        await settle()
        queue._wake_all()
        tasks[0].cancel()
        assert await tasks[1] is None
        assert tasks[0].cancelled()
        assert queue.pace.in_flight == queue._connections.busy == queue.waiting("acme") == 0
        assert await queue._connections.acquire(queue, "acme", None)


class TestFairness:
    @virtual
    async def test_a_slow_pace_is_shared_evenly_too(self):
        queue = queue_of(Counting, 100, rate=10.0, burst=1)
        many, few = acquiring(queue, 1_000, "big"), acquiring(queue, 3, "small")
        await asyncio.sleep(0.65)
        assert (gone(many), gone(few)) == ([0, 1, 2, 3], [0, 1, 2])
        await cancel(*many)

    @virtual
    async def test_one_who_comes_back_at_once_does_not_jump_the_line(self):
        queue = queue_of(Counting, 1, rate=10.0)
        many = acquiring(queue, 10, "big")
        back = []

        async def come_back():
            for _ in range(5):
                answered(queue, await queue._connections.acquire(queue, "small", FOREVER))
                back.append(len(gone(many)))

        async def rest():
            await answer_all(queue, many, seconds=0.0)

        await asyncio.gather(come_back(), rest())
        assert all(later > earlier for earlier, later in itertools.pairwise(back))

    @virtual
    async def test_a_paused_tenant_holds_up_nobody_who_waits_for_a_connection(self):
        connections = ConnectionLimiter(1)
        other = RequestQueue(connections, Open(PacingPolicy()))
        held = paused(100.0, connections)
        inside = connections.try_acquire(other, now())
        waiting = acquiring(held, 50)
        tasks = acquiring(other, 5)
        await settle()
        other.release(inside)
        assert await answer_all(other, tasks, seconds=1.0) == list(range(5))
        assert now() == 5.0
        # And its pause is no longer for that.
        assert await waiting[0]
        assert now() == 100.0
        await cancel(*waiting)

    @virtual
    async def test_a_turn_that_comes_while_all_connections_are_in_use_is_not_lost(self):
        connections = ConnectionLimiter(1)
        held = paused(10.0, connections)
        other = RequestQueue(connections, Open(PacingPolicy()))
        inside = connections.try_acquire(other, now())
        [task] = acquiring(held, 1)
        await asyncio.sleep(50.0)
        assert gone([task]) == []
        other.release(inside)
        assert await task
        assert now() == 50.0


class TestForetelling:
    @virtual
    async def test_the_wait_that_is_foretold_is_the_wait_that_comes(self):
        queue = queue_of(Counting, 100, rate=2.0)
        tasks = acquiring(queue, 21)
        await settle()
        foretold = queue.wait("acme", now())
        tasks += acquiring(queue, 1)
        assert await answer_all(queue, tasks) == list(range(22))
        assert foretold == pytest.approx(10.0, abs=1.0)

    @virtual
    async def test_a_pause_is_foretold(self):
        queue = paused(10.0)
        assert queue.wait("acme", now()) == 10.0

    @virtual
    async def test_short_lines_of_others_are_not_counted_as_long_ones(self):
        queue = queue_of(Counting, 1_000, rate=2.0)
        answered(queue, enter(queue))
        tasks = [task for number in range(99) for task in acquiring(queue, 1, f"other{number}")]
        tasks += acquiring(queue, 10, "mine")
        await settle()
        foretold = queue.wait("mine", now())
        began = now()
        await queue._connections.acquire(queue, "mine", FOREVER)
        try:
            assert foretold == pytest.approx(now() - began, rel=0.1)
        finally:
            await cancel(*tasks)

    @virtual
    async def test_who_waits_for_nothing_waits_no_time(self):
        queue = queue_of(Counting, 9)
        assert queue.wait("acme", now()) == 0.0

    @virtual
    async def test_the_pause_and_the_line_behind_it_are_foretold(self):
        queue = queue_of(Counting, 99, rate=1.0, burst=1)
        answered(queue, enter(queue))
        tasks = acquiring(queue, 10)
        await settle()
        await cancel(*tasks[3:6])
        foretold = queue.wait("acme", now())
        began = now()
        await queue._connections.acquire(queue, "acme", None)
        assert foretold == pytest.approx(now() - began, abs=0.5)
        assert gone(tasks) == [0, 1, 2, 6, 7, 8, 9]


class TestSlowAnswers:
    """What time alone allows is not held up by a request that takes long."""

    @staticmethod
    async def time_of_turn(queue, slow):
        tasks = acquiring(queue, 1)
        asyncio.get_running_loop().call_at(30.0, queue.release, slow)
        await tasks[0]
        return now()

    @virtual
    async def test_after_the_second_in_which_the_limit_is_counted(self):
        queue = queue_of(Counting, 9)
        slow, quick = (enter(queue) for _ in range(2))
        await asyncio.sleep(0.1)
        refused(queue, quick, 0.5)
        # Retry-After until 0.6, and a second.
        assert await self.time_of_turn(queue, slow) < 3.0

    @virtual
    async def test_after_the_reset_of_a_quota_that_was_used_up(self):
        queue = queue_of(Counting, 9)
        slow, quick = (enter(queue) for _ in range(2))
        await asyncio.sleep(0.1)
        queue.answered(quick, now(), RateLimitHeaders(limit=None, window=None, remaining=0, reset=1.0))
        queue.release(quick)
        assert await self.time_of_turn(queue, slow) < 3.0


class Shared(Counting):
    """Lets nobody go before others say so."""

    opened = False

    def ask(self, now):
        return super().ask(now) if self.opened else None


class TestNewsFromOthers:
    @virtual
    @pytest.mark.parametrize(("width", "ready"), [(9, 3), (2, 2)])
    async def test_who_waits_and_could_have_a_connection_is_counted_over_all_tenants(self, width, ready):
        queue = queue_of(Shared, width)
        tasks = acquiring(queue, 2) + acquiring(queue, 1, "globex")
        await settle()
        assert queue.ready == ready
        await cancel(*tasks)
        assert queue.ready == 0

    @virtual
    async def test_the_first_goes_once_others_say_so(self):
        queue = queue_of(Shared, 9)
        tasks = acquiring(queue, 2)
        await asyncio.sleep(9.0)
        assert gone(tasks) == []
        queue.pace.opened = True
        queue.pace_changed()
        await settle()
        assert gone(tasks) == [0, 1]

    @virtual
    async def test_a_long_pause_that_another_met_sends_everybody_away(self):
        queue = queue_of(Shared, 9)
        tasks = acquiring(queue, 2) + acquiring(queue, 1, "globex")
        await settle()
        queue.pace.hold(60.0, now())
        queue.pace_changed()
        assert await asyncio.gather(*tasks) == [None] * 3
        assert now() == 0

    @virtual
    async def test_a_short_pause_that_another_met_sends_nobody_away(self):
        queue = queue_of(Shared, 9)
        tasks = acquiring(queue, 2)
        await settle()
        queue.pace.opened = True
        queue.pace.hold(2.0, now())
        queue.pace_changed()
        assert await tasks[0]
        assert now() == 2.0
        await cancel(*tasks)


class TestClosing:
    @virtual
    async def test_closing_sends_everybody_away(self):
        queue = paused(10.0)
        tasks = acquiring(queue, 3) + acquiring(queue, 3, "globex")
        await settle()
        queue._connections.close()
        queue.close()
        assert await asyncio.gather(*tasks) == [None] * 6
        assert (now(), timers()) == (0, [])
        assert enter(queue) is await wait_in(queue) is None

    @virtual
    async def test_what_ends_after_it_closed_begins_no_timer(self):
        queue = paused(10.0)
        tasks = acquiring(queue, 3)
        probe = await tasks[0]
        queue._connections.close()
        queue.close()
        refused(queue, probe, 10.0)
        assert await asyncio.gather(*tasks[1:]) == [None, None]
        assert timers() == []
        assert queue._connections.busy == 0


class Watched(AdaptiveRateLimiter):
    """Notes what it let go, and what went although nothing may."""

    def __init__(self, policy):
        super().__init__(policy)
        self.floor = 0.0
        self.let_go = []
        self.too_early = False

    @property
    def in_flight(self):
        return len(self._out)

    def send(self, now):
        self.too_early |= now < self.floor
        sent = super().send(now)
        self.let_go.append(sent)
        return sent

    def refused(self, sent, now, retry_after, headers=None):
        if retry_after is not None:
            self.floor = max(self.floor, now + min(retry_after, 3600.0))
        super().refused(sent, now, retry_after, headers)


POLICIES = [PacingPolicy(), PacingPolicy(start=5.0), PacingPolicy(rate=2.0), PacingPolicy(rate=20.0, burst=5)]
PLACES = st.tuples(st.integers(0, 1), st.sampled_from("ab"))
PATIENCE = st.sampled_from([0.0, 0.5, 1.0, 5.0, FOREVER, None])
RETRY_AFTERS = st.sampled_from([None, None, 0.0, 0.001, 1.0, 5.0, 60.0])
HEADERS = st.sampled_from(
    [
        None,
        None,
        RateLimitHeaders(10, 1.0, 0, 1.0),
        RateLimitHeaders(100, 60.0, 50, 30.0),
        RateLimitHeaders(5, None, 0, 10.0),
        RateLimitHeaders(None, None, 0, None),
    ]
)
OUTCOMES = st.one_of(
    st.tuples(st.just("answered"), st.none(), HEADERS),
    st.tuples(st.just("refused"), RETRY_AFTERS, HEADERS),
    st.tuples(st.just("lost"), st.none(), st.none()),
)
QUIET = 20
TURNS = st.sampled_from([0, 1, 2, 3, QUIET, QUIET])


class LinesMachine(RuleBasedStateMachine):
    """Any order of arrivals, answers, refusals, lost requests, cancellations and lost patience, turn by turn."""

    waiters = Bundle("waiters")

    @initialize(width=st.integers(1, 3), policies=st.tuples(*[st.sampled_from(POLICIES)] * 2))
    def open(self, width, policies):
        self.loop = VirtualLoop()
        self.troubles = []
        self.loop.set_exception_handler(lambda _, context: self.troubles.append(context))
        self.width = width
        self.connections = ConnectionLimiter(width)
        self.queues = [RequestQueue(self.connections, Watched(policy)) for policy in policies]
        self.numbers = itertools.count()
        self.tasks = []
        self.inside = {}
        self.went = defaultdict(list)
        self.quiet = True
        self.ending = False

    async def wait(self, queue, tenant, patience, priority):
        until = math.inf if patience is None else self.loop.time() + patience
        while True:
            number, came = next(self.numbers), len(queue.pace.let_go)
            sent = self.connections.try_acquire(queue, now()) or await self.connections.acquire(
                queue, tenant, patience, priority=priority
            )
            if sent is not None or self.loop.time() >= until:
                break
            # Woken, to decide whether to wait on.
            patience = None if patience is None else until - self.loop.time()
        if sent is not None:
            self.inside[sent] = queue
            self.went[queue, tenant].append((queue.pace.let_go.index(sent), number, came, priority))
            if self.ending:
                self.loop.call_later(0.1, self.end, sent, ("answered", None, None))

    def end(self, sent, outcome):
        queue = self.inside.pop(sent)
        what, retry_after, headers = outcome
        if what == "answered":
            queue.answered(sent, now(), headers)
        elif what == "refused":
            queue.refused(sent, now(), retry_after, headers)
        queue.release(sent)

    def cancel_those_whose_turn_came(self):
        """Cancel who was told of a turn, but has not run since."""
        for task in self.tasks:
            future = None if task.done() else task._fut_waiter
            if future is not None and future.done():
                task.cancel()

    def end_one(self, pick, outcome):
        if self.inside:
            self.end(list(self.inside)[pick % len(self.inside)], outcome)

    def run(self, turns, *actions):
        async def act():
            for action in actions:
                action()
            await settle(turns)

        self.loop.run_until_complete(act())
        self.quiet = turns == QUIET

    def at_next_timer(self, turns, *actions):
        """Act in the very turn of the loop in which a timer fires."""
        scheduled = [handle.when() for handle in self.loop._scheduled if not handle.cancelled()]
        soon = [when for when in scheduled if self.loop.time() <= when < self.loop.time() + 100.0]
        if not soon:
            return self.run(turns, *actions)

        async def act():
            fired = self.loop.create_future()
            for action in actions:
                self.loop.call_at(min(soon), action)
            self.loop.call_at(min(soon), fired.set_result, None)
            await fired
            await settle(turns)

        self.loop.run_until_complete(act())
        self.quiet = turns == QUIET
        return None

    def add(self, place, patience, *, priority=False):
        number, tenant = place
        task = self.loop.create_task(self.wait(self.queues[number], tenant, patience, priority))
        self.tasks.append(task)
        return task

    @rule(target=waiters, place=PLACES, patience=PATIENCE, priority=st.booleans(), turns=TURNS)
    def arrive(self, place, patience, priority, turns):
        task = self.add(place, patience, priority=priority)
        self.run(turns)
        return task

    @rule(place=PLACES, count=st.integers(2, 8))
    def a_crowd_arrives(self, place, count):
        for _ in range(count):
            self.add(place, FOREVER)
        self.run(0)

    @rule(pick=st.integers(0, 2), outcome=OUTCOMES, turns=TURNS)
    def somebody_leaves(self, pick, outcome, turns):
        self.run(turns, lambda: self.end_one(pick, outcome))

    @rule(outcome=OUTCOMES, turns=TURNS)
    def everybody_leaves(self, outcome, turns):
        self.run(turns, *[lambda: self.end_one(0, outcome)] * len(self.inside))

    @rule(task=consumes(waiters), turns=TURNS)
    def cancel(self, task, turns):
        self.run(turns, task.cancel)

    @rule(task=consumes(waiters), pick=st.integers(0, 2), outcome=OUTCOMES, first=st.booleans(), turns=TURNS)
    def leave_and_cancel_in_one_turn(self, task, pick, outcome, first, turns):
        actions = [lambda: self.end_one(pick, outcome), task.cancel]
        self.run(turns, *(actions if first else reversed(actions)))

    @rule(task=consumes(waiters), turns=TURNS)
    def cancel_as_a_timer_fires(self, task, turns):
        self.at_next_timer(turns, task.cancel)

    @rule(task=consumes(waiters), pick=st.integers(0, 2), outcome=OUTCOMES, turns=TURNS)
    def leave_and_cancel_as_a_timer_fires(self, task, pick, outcome, turns):
        self.at_next_timer(turns, lambda: self.end_one(pick, outcome), task.cancel)

    @rule(pick=st.integers(0, 2), outcome=OUTCOMES, times=st.integers(1, 3), turns=TURNS)
    def turns_come_and_are_cancelled_at_once(self, pick, outcome, times, turns):
        self.run(turns, lambda: self.end_one(pick, outcome), *[self.cancel_those_whose_turn_came] * times)

    @rule(turns=TURNS)
    def turns_come_with_a_timer_and_are_cancelled_at_once(self, turns):
        # The timers of one moment run first, in whichever order; then this, then who was told.
        self.at_next_timer(turns, lambda: self.loop.call_soon(self.cancel_those_whose_turn_came))

    @rule(seconds=st.sampled_from([0.001, 0.3, 1.0, 10.0, 100.0]))
    def time_passes(self, seconds):
        self.loop.run_until_complete(asyncio.sleep(seconds))
        self.run(QUIET)

    @invariant()
    def never_more_inside_than_it_is_wide(self):
        assert len(self.inside) <= self.connections.busy <= self.width

    @invariant()
    def what_is_inside_is_in_flight(self):
        assert self.connections.busy == sum(queue.pace.in_flight for queue in self.queues)

    @invariant()
    def nothing_drifts(self):
        if self.quiet:
            assert self.connections.busy == len(self.inside)
            for queue in self.queues:
                ours = sum(whose is queue for whose in self.inside.values())
                assert queue.pace.in_flight == ours

    @invariant()
    def nobody_goes_before_a_floor(self):
        assert not any(queue.pace.too_early for queue in self.queues)

    @invariant()
    def first_come_first_served(self):
        for went in self.went.values():
            fresh = [(index, number) for index, number, _, priority in sorted(went) if not priority]
            numbers = [number for _, number in fresh]
            assert numbers == sorted(numbers)
            # And none of them while one waits that came back.
            for index, _, came, priority in went:
                assert not priority or not any(came <= other < index for other, _ in fresh)

    @invariant()
    def nobody_waits_for_nothing(self):
        for queue in self.queues:
            if any(queue.waiting(tenant) for tenant in "ab"):
                timed = queue._timer is not None and not queue._timer.cancelled()
                assert timed or queue.pace.in_flight or self.connections.busy == self.width

    @invariant()
    def nothing_was_raised(self):
        assert self.troubles == []

    def teardown(self):
        async def end():
            await settle(QUIET)
            self.ending = True
            for sent in list(self.inside):
                self.end(sent, ("answered", None, None))
            # However it came here: who still waits gets a turn, as long as requests are answered.
            async with asyncio.timeout(1e6):
                await asyncio.gather(*self.tasks, return_exceptions=True)
            await asyncio.sleep(7200.0)
            assert self.connections.busy == len(self.inside) == 0
            for queue in self.queues:
                assert queue.pace.in_flight == 0
                assert queue.tenants == {}
            assert [handle for handle in self.loop._scheduled if not handle.cancelled()] == []
            # Nobody who was there to the end was forgotten.
            failed = [task for task in self.tasks if not task.cancelled() and task.exception()]
            assert failed == []

        async def cancel():
            for task in self.tasks:
                task.cancel()
            await settle()

        try:
            self.loop.run_until_complete(end())
            self.first_come_first_served()
            self.nobody_goes_before_a_floor()
            self.nothing_was_raised()
        finally:
            self.loop.run_until_complete(cancel())
            self.loop.close()


TestAnyOrder = LinesMachine.TestCase
TestAnyOrder.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)


@virtual
class TestTraffic:
    async def test_it_says_what_was_refused_and_for_how_long_nothing_was_sent(self):
        queue = paused(10.0)
        before = queue.traffic(now())
        await asyncio.sleep(4.0)
        queue.requests += 3
        queue.unclear += 1

        told = queue.traffic(now()).since(before)
        assert (told.requests, told.refused, told.unclear) == (3, 0, 1)
        assert before.refused == 1
        assert told.paused == pytest.approx(4.0)
        await asyncio.sleep(20.0)
        assert queue.traffic(now()).paused == pytest.approx(10.0)

    async def test_of_a_tenant_that_was_forgotten_it_is_counted_anew(self):
        assert Traffic(1, 0, 0, 0.0).since(Traffic(5, 2, 1, 3.0)) == Traffic(0, 0, 0, 0.0)

    @pytest.mark.parametrize(("width", "limits"), [(2, True), (1, False)])
    async def test_a_rate_limits_where_a_connection_is_free(self, width, limits):
        queue = queue_of(AdaptiveRateLimiter, width, rate=0.1, burst=1)
        sent = enter(queue)
        tasks = acquiring(queue, 1)
        await settle()

        assert queue.limits("acme") is limits
        assert not queue.limits("globex")
        queue.release(sent)
        await cancel(*tasks)
