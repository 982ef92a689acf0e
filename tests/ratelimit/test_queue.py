"""The connection limiter: never more in use than it has, in turn, and nothing that a waiter takes with it."""

from __future__ import annotations

import asyncio
import functools
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clarus_async.config import PacingPolicy
from clarus_async.ratelimit.limiter import AdaptiveRateLimiter
from clarus_async.ratelimit.queue import ConnectionLimiter, RequestQueue
from tests.support.virtual import now, settle, virtual

FOREVER = 1e6


class Open(AdaptiveRateLimiter):
    """Holds nobody back."""

    @property
    def in_flight(self):
        return len(self._out)

    def ask(self, now):
        return 0.0


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


def acquiring(connections, *queues, tenant="acme", patience=FOREVER):
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


class TestAcquiring:
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
    async def test_one_more_waits_until_somebody_leaves(self):
        connections, queue = connections_and_queues(1)
        release = try_acquire(connections, queue)
        [waiter] = acquiring(connections, queue)
        await settle()
        assert not waiter.done()
        release()
        assert await waiter
        assert connections.busy == 1

    @virtual
    async def test_nobody_overtakes_who_waits(self):
        connections, one, other = connections_and_queues(1, 2)
        release = try_acquire(connections, one)
        [waiter] = acquiring(connections, one)
        await settle()
        release()
        # The slot is the waiter's already, though it has not run yet.
        assert not try_acquire(connections, one)
        assert not try_acquire(connections, other)
        assert await waiter

    @virtual
    async def test_try_acquire_refuses_where_it_is_full(self):
        connections, queue = connections_and_queues(1)
        assert try_acquire(connections, queue)
        assert not try_acquire(connections, queue)

    @virtual
    async def test_a_newcomer_gets_the_slot_that_only_departed_waiters_were_in_line_for(self):
        connections, queue = connections_and_queues(1)
        release = try_acquire(connections, queue)
        [gone] = acquiring(connections, queue)
        await settle()
        gone.cancel()
        await settle()
        release()
        assert await acquire(connections, queue)

    @virtual
    async def test_who_waits_for_a_connection_can_be_told_from_who_waits_for_the_pace(self):
        connections, full, other = connections_and_queues(1, 2)
        release = try_acquire(connections, full)
        assert not connections.is_bottleneck(full, now())
        tasks = acquiring(connections, full)
        await settle()
        assert (connections.is_bottleneck(full, now()), connections.is_bottleneck(other, now())) == (True, False)
        release()
        assert not connections.is_bottleneck(full, now())
        await asyncio.gather(*tasks)


class TestOrder:
    @virtual
    async def test_first_come_first_served_within_a_tenant(self):
        connections, queue = connections_and_queues(1)
        release = try_acquire(connections, queue)
        tasks = acquiring(connections, *[queue] * 5)
        await settle()
        assert await order_of_entry(release, tasks) == [0, 1, 2, 3, 4]

    @virtual
    async def test_round_robin_over_queues(self):
        connections, a, b, c = connections_and_queues(1, 3)
        release = try_acquire(connections, a)
        tasks = acquiring(connections, a, a, a, a, b, b, c)
        await settle()
        assert await order_of_entry(release, tasks) == [0, 4, 6, 1, 5, 2, 3]

    @virtual
    async def test_round_robin_over_the_tenants_of_one_queue(self):
        connections, queue = connections_and_queues(1)
        release = try_acquire(connections, queue)
        tasks = [task for tenant in "aaaabbc" for task in acquiring(connections, queue, tenant=tenant)]
        await settle()
        assert await order_of_entry(release, tasks) == [0, 4, 6, 1, 5, 2, 3]

    @virtual
    async def test_a_queue_that_comes_late_waits_one_round_at_most(self):
        connections, a, b = connections_and_queues(1, 2)
        release = try_acquire(connections, a)
        tasks = acquiring(connections, *[a] * 100)
        await settle()
        [late] = acquiring(connections, b)
        await settle()
        release()
        release = await tasks[0]
        release()
        release = await late
        assert sum(task.done() for task in tasks) == 1
        await release_all(connections, release, tasks)

    @virtual
    async def test_waiters_that_left_cost_their_queue_no_turn(self):
        connections, a, b = connections_and_queues(1, 2)
        release = try_acquire(connections, a)
        gone = acquiring(connections, *[a] * 10)
        [patient] = acquiring(connections, a)
        others = acquiring(connections, *[b] * 10)
        await settle()
        for task in gone:
            task.cancel()
        await settle()
        # Queue a came first and has one live waiter: the next free slot is its.
        assert (await order_of_entry(release, [patient, *others]))[0] == 0

    @virtual
    async def test_waiters_that_left_cost_their_tenant_no_turn(self):
        connections, queue = connections_and_queues(1)
        release = try_acquire(connections, queue)
        gone = acquiring(connections, *[queue] * 10, tenant="a")
        [patient] = acquiring(connections, queue, tenant="a")
        others = acquiring(connections, *[queue] * 10, tenant="b")
        await settle()
        for task in gone:
            task.cancel()
        await settle()
        assert (await order_of_entry(release, [patient, *others]))[0] == 0

    @given(
        arrivals=st.lists(st.sampled_from("abc"), max_size=20),
        width=st.integers(1, 4),
        shared=st.booleans(),
    )
    @settings(max_examples=60, deadline=None)
    def test_no_tenant_gets_two_turns_while_another_waits(self, arrivals, width, shared):
        @virtual
        async def check():
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

        check()


class TestLeavingTheLine:
    @virtual
    async def test_patience_ends_with_none(self):
        connections, queue = connections_and_queues(1)
        assert try_acquire(connections, queue)
        assert await acquire(connections, queue, patience=2.5) is None
        assert now() == 2.5

    @virtual
    async def test_patience_may_have_no_end(self):
        connections, queue = connections_and_queues(1)
        release = try_acquire(connections, queue)
        [endless] = acquiring(connections, queue, patience=None)
        await settle()
        assert asyncio.get_running_loop()._scheduled == []
        await asyncio.sleep(80_000.0)
        assert not endless.done()
        release()
        release = await endless
        release()
        assert connections.busy == 0

    @virtual
    async def test_who_waits_without_end_may_be_cancelled_or_sent_away(self):
        connections, queue = connections_and_queues(1)
        release = try_acquire(connections, queue)
        first, second = acquiring(connections, queue, queue, patience=None)
        await settle()
        first.cancel()
        connections.close()
        queue.close()
        assert await second is None
        assert first.cancelled()
        release()
        assert connections.busy == queue.waiting("acme") == 0

    @virtual
    async def test_a_slot_passes_over_who_lost_patience(self):
        connections, queue = connections_and_queues(1)
        release = try_acquire(connections, queue)
        [short] = acquiring(connections, queue, patience=1.0)
        [long] = acquiring(connections, queue)
        await asyncio.sleep(2.0)
        release()
        assert await long
        assert await short is None

    @virtual
    async def test_a_cancelled_waiter_leaves_the_line_to_the_next(self):
        connections, queue = connections_and_queues(1)
        release = try_acquire(connections, queue)
        first, second = acquiring(connections, queue, queue)
        await settle()
        first.cancel()
        await settle()
        release()
        assert await second
        assert first.cancelled()

    @virtual
    async def test_a_waiter_cancelled_as_its_slot_comes_hands_it_on(self):
        connections, one, other = connections_and_queues(1, 2)
        release = try_acquire(connections, one)
        first, second = acquiring(connections, one, other)
        await settle()
        release()
        first.cancel()
        release = await second
        assert first.cancelled()
        assert one.pace.in_flight == 0
        release()
        assert connections.busy == 0
        assert try_acquire(connections, one)

    @virtual
    async def test_a_slot_that_comes_as_patience_ends_is_kept_or_was_never_given(self):
        connections, queue = connections_and_queues(1)
        release = try_acquire(connections, queue)
        [waiter] = acquiring(connections, queue, patience=1.0)
        await settle()
        asyncio.get_running_loop().call_at(1.0, release)
        inside = await waiter
        assert connections.busy == queue.pace.in_flight == (1 if inside else 0)

    @pytest.mark.parametrize("turns", range(6))
    @pytest.mark.parametrize("shared", [True, False])
    def test_cancelling_at_any_turn_of_the_loop_loses_no_slot(self, turns, shared):
        @virtual
        async def check():
            connections, one, other = connections_and_queues(1, 2)
            release = try_acquire(connections, one)
            tasks = acquiring(connections, one, one, one if shared else other)
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

        check()

    @virtual
    async def test_everybody_who_waits_may_be_cancelled(self):
        connections, *queues = connections_and_queues(2, 3)
        releases = [try_acquire(connections, queues[0]) for _ in range(2)]
        tasks = acquiring(connections, *queues * 2)
        await settle()
        for task in tasks:
            task.cancel()
        await settle()
        for release in releases:
            release()
        assert connections.busy == 0
        assert all(not queue.tenants for queue in queues)
        assert try_acquire(connections, queues[0])
        assert try_acquire(connections, queues[1])

    @virtual
    async def test_everybody_may_be_cancelled_as_the_slots_come(self):
        connections, *queues = connections_and_queues(2, 3)
        releases = [try_acquire(connections, queues[0]) for _ in range(2)]
        tasks = acquiring(connections, *queues * 2)
        await settle()
        for release in releases:
            release()
        for task in tasks:
            task.cancel()
        await settle()
        assert all(task.cancelled() for task in tasks)
        assert connections.busy == 0
        assert try_acquire(connections, queues[0])
        assert try_acquire(connections, queues[1])

    @virtual
    async def test_waiting_counts_only_who_still_waits(self):
        connections, queue = connections_and_queues(1)
        release = try_acquire(connections, queue)
        tasks = acquiring(connections, queue, queue) + acquiring(connections, queue, tenant="globex")
        await settle()
        assert [queue.waiting(tenant) for tenant in ("acme", "globex", "other")] == [2, 1, 0]
        tasks[0].cancel()
        await settle()
        assert queue.waiting("acme") == 1
        await release_all(connections, release, tasks)
        assert queue.waiting("acme") == 0


class TestClosing:
    @virtual
    async def test_closing_sends_everybody_away(self):
        connections, one, other = connections_and_queues(1, 2)
        release = try_acquire(connections, one)
        tasks = acquiring(connections, one, other, one)
        await settle()
        connections.close()
        one.close()
        other.close()
        assert await asyncio.gather(*tasks) == [None, None, None]
        release()
        assert connections.busy == 0

    @virtual
    async def test_a_closed_limiter_lets_nobody_through(self):
        connections, queue = connections_and_queues(1)
        connections.close()
        assert not try_acquire(connections, queue)
        assert await acquire(connections, queue) is None
        assert now() == 0

    @virtual
    async def test_a_slot_that_comes_free_after_it_closed_is_given_to_nobody(self):
        connections, queue = connections_and_queues(1)
        release = try_acquire(connections, queue)
        [waiter] = acquiring(connections, queue)
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
        [waiter] = acquiring(connections, queue)
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
    async def test_draining_ends_with_its_patience(self):
        connections, queue = connections_and_queues(1)
        assert try_acquire(connections, queue)
        connections.close()
        await connections.drain(7.0)
        assert now() == 7.0

    @virtual
    async def test_draining_again_waits_on(self):
        connections, queue = connections_and_queues(1)
        release = try_acquire(connections, queue)
        connections.close()
        await connections.drain(7.0)
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
    async def test_two_may_wait_for_the_last_one(self):
        connections, queue = connections_and_queues(1)
        release = try_acquire(connections, queue)
        connections.close()
        drains = [asyncio.create_task(connections.drain(100.0)) for _ in range(2)]
        await settle()
        release()
        await asyncio.gather(*drains)
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
