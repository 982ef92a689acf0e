"""The gate: never more inside than it is wide, in turn, and nothing that a leaving waiter takes with it."""

from __future__ import annotations

import asyncio
import functools
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clarus_async.config import PacingPolicy
from clarus_async.policy.pacing import Pace
from clarus_async.ratelimit.queue import Gate, Turnstile
from tests.virtual import now, settle, virtual

FOREVER = 1e6


class Open(Pace):
    """Holds nobody back."""

    def ask(self, now):
        return 0.0


def gate_and_turnstiles(width, count=1):
    gate = Gate(width)
    return gate, *(Turnstile(gate, Open(PacingPolicy())) for _ in range(count))


def enter_now(gate, turnstile):
    """Go in at once, and return how to leave; ``None`` where that can't be."""
    sent = gate.enter_now(turnstile, now())
    return None if sent is None else functools.partial(turnstile.leave, sent)


async def enter(gate, turnstile, tenant="acme", patience=FOREVER):
    """Wait, and return how to leave; ``None`` where nothing came of it."""
    sent = await gate.enter(turnstile, tenant, patience)
    return None if sent is None else functools.partial(turnstile.leave, sent)


def entering(gate, *turnstiles, tenant="acme", patience=FOREVER):
    """Start a waiter at each turnstile; they queue in this order."""
    return [asyncio.create_task(enter(gate, turnstile, tenant, patience)) for turnstile in turnstiles]


async def order_of_entry(leave, tasks):
    """Let one out after another, and note who gets in; the gate is one wide, and ``leave`` is how its one leaves."""
    order = []
    waiting = dict(enumerate(tasks))
    while waiting:
        leave()
        await settle()
        [number] = [number for number, task in waiting.items() if task.done()]
        order.append(number)
        leave = waiting.pop(number).result()
    leave()
    return order


async def leave_all(gate, leave, tasks):
    """Let one out after another until all that wait had their turn."""
    waiting = [task for task in tasks if not task.done()]
    await order_of_entry(leave, waiting)
    assert gate.busy == 0


class TestEntering:
    @virtual
    async def test_as_many_as_it_is_wide_enter_at_once(self):
        gate, turnstile = gate_and_turnstiles(3)
        assert all([await enter(gate, turnstile) for _ in range(3)])
        assert gate.busy == 3
        assert now() == 0

    @virtual
    async def test_its_width_counts_over_all_turnstiles(self):
        gate, *turnstiles = gate_and_turnstiles(2, 3)
        assert [enter_now(gate, turnstile) is not None for turnstile in turnstiles] == [True, True, False]

    @virtual
    async def test_one_more_waits_until_somebody_leaves(self):
        gate, turnstile = gate_and_turnstiles(1)
        leave = enter_now(gate, turnstile)
        [waiter] = entering(gate, turnstile)
        await settle()
        assert not waiter.done()
        leave()
        assert await waiter
        assert gate.busy == 1

    @virtual
    async def test_nobody_overtakes_who_waits(self):
        gate, one, other = gate_and_turnstiles(1, 2)
        leave = enter_now(gate, one)
        [waiter] = entering(gate, one)
        await settle()
        leave()
        # The slot is the waiter's already, though it has not run yet.
        assert not enter_now(gate, one)
        assert not enter_now(gate, other)
        assert await waiter

    @virtual
    async def test_enter_now_refuses_where_it_is_full(self):
        gate, turnstile = gate_and_turnstiles(1)
        assert enter_now(gate, turnstile)
        assert not enter_now(gate, turnstile)

    @virtual
    async def test_a_newcomer_gets_the_slot_that_only_departed_waiters_were_in_line_for(self):
        gate, turnstile = gate_and_turnstiles(1)
        leave = enter_now(gate, turnstile)
        [gone] = entering(gate, turnstile)
        await settle()
        gone.cancel()
        await settle()
        leave()
        assert await enter(gate, turnstile)

    @virtual
    async def test_who_waits_for_a_connection_can_be_told_from_who_waits_for_the_pace(self):
        gate, full, other = gate_and_turnstiles(1, 2)
        leave = enter_now(gate, full)
        assert not gate.full(full, now())
        tasks = entering(gate, full)
        await settle()
        assert (gate.full(full, now()), gate.full(other, now())) == (True, False)
        leave()
        assert not gate.full(full, now())
        await asyncio.gather(*tasks)


class TestOrder:
    @virtual
    async def test_first_come_first_served_within_a_tenant(self):
        gate, turnstile = gate_and_turnstiles(1)
        leave = enter_now(gate, turnstile)
        tasks = entering(gate, *[turnstile] * 5)
        await settle()
        assert await order_of_entry(leave, tasks) == [0, 1, 2, 3, 4]

    @virtual
    async def test_round_robin_over_turnstiles(self):
        gate, a, b, c = gate_and_turnstiles(1, 3)
        leave = enter_now(gate, a)
        tasks = entering(gate, a, a, a, a, b, b, c)
        await settle()
        assert await order_of_entry(leave, tasks) == [0, 4, 6, 1, 5, 2, 3]

    @virtual
    async def test_round_robin_over_the_tenants_of_one_turnstile(self):
        gate, turnstile = gate_and_turnstiles(1)
        leave = enter_now(gate, turnstile)
        tasks = [task for tenant in "aaaabbc" for task in entering(gate, turnstile, tenant=tenant)]
        await settle()
        assert await order_of_entry(leave, tasks) == [0, 4, 6, 1, 5, 2, 3]

    @virtual
    async def test_a_turnstile_that_comes_late_waits_one_round_at_most(self):
        gate, a, b = gate_and_turnstiles(1, 2)
        leave = enter_now(gate, a)
        tasks = entering(gate, *[a] * 100)
        await settle()
        [late] = entering(gate, b)
        await settle()
        leave()
        leave = await tasks[0]
        leave()
        leave = await late
        assert sum(task.done() for task in tasks) == 1
        await leave_all(gate, leave, tasks)

    @virtual
    async def test_waiters_that_left_cost_their_turnstile_no_turn(self):
        gate, a, b = gate_and_turnstiles(1, 2)
        leave = enter_now(gate, a)
        gone = entering(gate, *[a] * 10)
        [patient] = entering(gate, a)
        others = entering(gate, *[b] * 10)
        await settle()
        for task in gone:
            task.cancel()
        await settle()
        # Turnstile a came first and has one live waiter: the next free slot is its.
        assert (await order_of_entry(leave, [patient, *others]))[0] == 0

    @virtual
    async def test_waiters_that_left_cost_their_tenant_no_turn(self):
        gate, turnstile = gate_and_turnstiles(1)
        leave = enter_now(gate, turnstile)
        gone = entering(gate, *[turnstile] * 10, tenant="a")
        [patient] = entering(gate, turnstile, tenant="a")
        others = entering(gate, *[turnstile] * 10, tenant="b")
        await settle()
        for task in gone:
            task.cancel()
        await settle()
        assert (await order_of_entry(leave, [patient, *others]))[0] == 0

    @given(
        arrivals=st.lists(st.sampled_from("abc"), max_size=20),
        width=st.integers(1, 4),
        shared=st.booleans(),
    )
    @settings(max_examples=60, deadline=None)
    def test_no_tenant_gets_two_turns_while_another_waits(self, arrivals, width, shared):
        @virtual
        async def check():
            gate, *turnstiles = gate_and_turnstiles(width, 3)
            at = dict.fromkeys("abc", turnstiles[0]) if shared else dict(zip("abc", turnstiles, strict=True))
            leaves = [enter_now(gate, turnstiles[0]) for _ in range(width)]
            entered = []

            async def wait(tenant):
                leaves.append(await enter(gate, at[tenant], tenant))
                entered.append(tenant)

            tasks = [asyncio.create_task(wait(tenant)) for tenant in arrivals]
            await settle()
            for number in itertools.count():
                if number == len(leaves):
                    break
                leaves[number]()
                await settle()
            assert all(task.done() for task in tasks)
            assert gate.busy == 0
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
        gate, turnstile = gate_and_turnstiles(1)
        assert enter_now(gate, turnstile)
        assert await enter(gate, turnstile, patience=2.5) is None
        assert now() == 2.5

    @virtual
    async def test_patience_may_have_no_end(self):
        gate, turnstile = gate_and_turnstiles(1)
        leave = enter_now(gate, turnstile)
        [endless] = entering(gate, turnstile, patience=None)
        await settle()
        assert asyncio.get_running_loop()._scheduled == []
        await asyncio.sleep(80_000.0)
        assert not endless.done()
        leave()
        leave = await endless
        leave()
        assert gate.busy == 0

    @virtual
    async def test_who_waits_without_end_may_be_cancelled_or_sent_away(self):
        gate, turnstile = gate_and_turnstiles(1)
        leave = enter_now(gate, turnstile)
        first, second = entering(gate, turnstile, turnstile, patience=None)
        await settle()
        first.cancel()
        gate.close()
        turnstile.close()
        assert await second is None
        assert first.cancelled()
        leave()
        assert gate.busy == turnstile.waiting("acme") == 0

    @virtual
    async def test_a_slot_passes_over_who_lost_patience(self):
        gate, turnstile = gate_and_turnstiles(1)
        leave = enter_now(gate, turnstile)
        [short] = entering(gate, turnstile, patience=1.0)
        [long] = entering(gate, turnstile)
        await asyncio.sleep(2.0)
        leave()
        assert await long
        assert await short is None

    @virtual
    async def test_a_cancelled_waiter_leaves_the_line_to_the_next(self):
        gate, turnstile = gate_and_turnstiles(1)
        leave = enter_now(gate, turnstile)
        first, second = entering(gate, turnstile, turnstile)
        await settle()
        first.cancel()
        await settle()
        leave()
        assert await second
        assert first.cancelled()

    @virtual
    async def test_a_waiter_cancelled_as_its_slot_comes_hands_it_on(self):
        gate, one, other = gate_and_turnstiles(1, 2)
        leave = enter_now(gate, one)
        first, second = entering(gate, one, other)
        await settle()
        leave()
        first.cancel()
        leave = await second
        assert first.cancelled()
        assert one.pace.under_way == 0
        leave()
        assert gate.busy == 0
        assert enter_now(gate, one)

    @virtual
    async def test_a_slot_that_comes_as_patience_ends_is_kept_or_was_never_given(self):
        gate, turnstile = gate_and_turnstiles(1)
        leave = enter_now(gate, turnstile)
        [waiter] = entering(gate, turnstile, patience=1.0)
        await settle()
        asyncio.get_running_loop().call_at(1.0, leave)
        inside = await waiter
        assert gate.busy == turnstile.pace.under_way == (1 if inside else 0)

    @pytest.mark.parametrize("turns", range(6))
    @pytest.mark.parametrize("shared", [True, False])
    def test_cancelling_at_any_turn_of_the_loop_loses_no_slot(self, turns, shared):
        @virtual
        async def check():
            gate, one, other = gate_and_turnstiles(1, 2)
            leave = enter_now(gate, one)
            tasks = entering(gate, one, one, one if shared else other)
            await settle(1)
            leave()
            for _ in range(turns):
                await asyncio.sleep(0)
            tasks[0].cancel()
            await settle()
            if not tasks[0].cancelled():
                tasks[0].result()()
            leave = await tasks[1] if shared else await tasks[2]
            assert gate.busy == 1
            leave()
            leave = await tasks[2] if shared else await tasks[1]
            assert gate.busy == 1
            leave()
            assert gate.busy == one.pace.under_way == other.pace.under_way == 0
            assert enter_now(gate, one)

        check()

    @virtual
    async def test_everybody_who_waits_may_be_cancelled(self):
        gate, *turnstiles = gate_and_turnstiles(2, 3)
        leaves = [enter_now(gate, turnstiles[0]) for _ in range(2)]
        tasks = entering(gate, *turnstiles * 2)
        await settle()
        for task in tasks:
            task.cancel()
        await settle()
        for leave in leaves:
            leave()
        assert gate.busy == 0
        assert all(not turnstile.lines for turnstile in turnstiles)
        assert enter_now(gate, turnstiles[0])
        assert enter_now(gate, turnstiles[1])

    @virtual
    async def test_everybody_may_be_cancelled_as_the_slots_come(self):
        gate, *turnstiles = gate_and_turnstiles(2, 3)
        leaves = [enter_now(gate, turnstiles[0]) for _ in range(2)]
        tasks = entering(gate, *turnstiles * 2)
        await settle()
        for leave in leaves:
            leave()
        for task in tasks:
            task.cancel()
        await settle()
        assert all(task.cancelled() for task in tasks)
        assert gate.busy == 0
        assert enter_now(gate, turnstiles[0])
        assert enter_now(gate, turnstiles[1])

    @virtual
    async def test_waiting_counts_only_who_still_waits(self):
        gate, turnstile = gate_and_turnstiles(1)
        leave = enter_now(gate, turnstile)
        tasks = entering(gate, turnstile, turnstile) + entering(gate, turnstile, tenant="globex")
        await settle()
        assert [turnstile.waiting(tenant) for tenant in ("acme", "globex", "other")] == [2, 1, 0]
        tasks[0].cancel()
        await settle()
        assert turnstile.waiting("acme") == 1
        await leave_all(gate, leave, tasks)
        assert turnstile.waiting("acme") == 0


class TestClosing:
    @virtual
    async def test_closing_sends_everybody_away(self):
        gate, one, other = gate_and_turnstiles(1, 2)
        leave = enter_now(gate, one)
        tasks = entering(gate, one, other, one)
        await settle()
        gate.close()
        one.close()
        other.close()
        assert await asyncio.gather(*tasks) == [None, None, None]
        leave()
        assert gate.busy == 0

    @virtual
    async def test_a_closed_gate_lets_nobody_in(self):
        gate, turnstile = gate_and_turnstiles(1)
        gate.close()
        assert not enter_now(gate, turnstile)
        assert await enter(gate, turnstile) is None
        assert now() == 0

    @virtual
    async def test_a_slot_that_comes_free_after_it_closed_is_given_to_nobody(self):
        gate, turnstile = gate_and_turnstiles(1)
        leave = enter_now(gate, turnstile)
        [waiter] = entering(gate, turnstile)
        await settle()
        gate.close()
        leave()
        assert gate.busy == 0
        turnstile.close()
        assert await waiter is None

    @virtual
    async def test_who_was_given_a_slot_before_it_closed_keeps_it(self):
        gate, turnstile = gate_and_turnstiles(1)
        leave = enter_now(gate, turnstile)
        [waiter] = entering(gate, turnstile)
        await settle()
        leave()
        gate.close()
        turnstile.close()
        leave = await waiter
        assert gate.busy == 1
        leave()
        assert gate.busy == 0

    @virtual
    async def test_draining_waits_for_the_last_one(self):
        gate, turnstile = gate_and_turnstiles(2)
        leaves = [enter_now(gate, turnstile) for _ in range(2)]
        gate.close()
        asyncio.get_running_loop().call_at(3.0, leaves[0])
        asyncio.get_running_loop().call_at(5.0, leaves[1])
        await gate.drain(FOREVER)
        assert now() == 5.0

    @virtual
    async def test_draining_ends_with_its_patience(self):
        gate, turnstile = gate_and_turnstiles(1)
        assert enter_now(gate, turnstile)
        gate.close()
        await gate.drain(7.0)
        assert now() == 7.0

    @virtual
    async def test_draining_again_waits_on(self):
        gate, turnstile = gate_and_turnstiles(1)
        leave = enter_now(gate, turnstile)
        gate.close()
        await gate.drain(7.0)
        asyncio.get_running_loop().call_at(9.0, leave)
        await gate.drain(7.0)
        assert now() == 9.0

    @virtual
    async def test_draining_an_empty_gate_takes_no_time(self):
        gate, _ = gate_and_turnstiles(1)
        gate.close()
        await gate.drain(FOREVER)
        assert now() == 0

    @virtual
    async def test_two_may_wait_for_the_last_one(self):
        gate, turnstile = gate_and_turnstiles(1)
        leave = enter_now(gate, turnstile)
        gate.close()
        drains = [asyncio.create_task(gate.drain(100.0)) for _ in range(2)]
        await settle()
        leave()
        await asyncio.gather(*drains)
        assert now() == 0

    @virtual
    async def test_who_gives_up_waiting_for_the_last_one_takes_nobody_with_it(self):
        gate, turnstile = gate_and_turnstiles(1)
        leave = enter_now(gate, turnstile)
        gate.close()
        first, second = (asyncio.create_task(gate.drain(100.0)) for _ in range(2))
        await settle()
        first.cancel()
        asyncio.get_running_loop().call_at(3.0, leave)
        await second
        assert now() == 3.0
