"""The gate: never more inside than it is wide, in turn, and nothing that a leaving waiter takes with it."""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from clarus_async.transport.gate import Gate
from tests.virtual import VirtualLoop, now, settle, virtual

FOREVER = 1e6


def entering(gate, *tenants, patience=FOREVER):
    """Start a waiter for each tenant; they queue in this order."""
    return [asyncio.create_task(gate.enter(tenant, patience)) for tenant in tenants]


def is_in(task):
    return task.done() and not task.cancelled() and task.result()


async def leave_all(gate, tasks):
    """Give every slot back until all waiters had theirs."""
    while gate.busy:
        gate.leave()
        await settle()
    assert all(task.done() for task in tasks)


async def order_of_entry(gate, tasks):
    """Free one slot after another and note who gets it; the gate must be full."""
    order = []
    waiting = dict(enumerate(tasks))
    while waiting:
        gate.leave()
        await settle()
        entered = [number for number, task in waiting.items() if task.done()]
        assert len(entered) == 1
        order += entered
        del waiting[entered[0]]
    gate.leave()
    return order


class TestEntering:
    @virtual
    async def test_as_many_as_it_is_wide_enter_at_once(self):
        gate = Gate(3)
        assert [await gate.enter("acme", FOREVER) for _ in range(3)] == [True, True, True]
        assert gate.busy == 3
        assert now() == 0

    @virtual
    async def test_one_more_waits_until_somebody_leaves(self):
        gate = Gate(1)
        assert gate.enter_now()
        [waiter] = entering(gate, "acme")
        await settle()
        assert not waiter.done()
        gate.leave()
        assert await waiter is True
        assert gate.busy == 1

    @virtual
    async def test_nobody_overtakes_who_waits(self):
        gate = Gate(1)
        assert gate.enter_now()
        [waiter] = entering(gate, "acme")
        await settle()
        gate.leave()
        # The slot is the waiter's already, though it has not run yet.
        assert not gate.enter_now()
        assert await waiter is True

    @virtual
    async def test_enter_now_refuses_where_it_is_full(self):
        gate = Gate(1)
        assert gate.enter_now()
        assert not gate.enter_now()

    @virtual
    async def test_a_newcomer_gets_the_slot_that_only_departed_waiters_were_in_line_for(self):
        gate = Gate(1)
        assert gate.enter_now()
        [gone] = entering(gate, "acme")
        await settle()
        gone.cancel()
        await settle()
        gate.leave()
        assert await gate.enter("acme", FOREVER) is True


class TestOrder:
    @virtual
    async def test_first_come_first_served_within_a_tenant(self):
        gate = Gate(1)
        assert gate.enter_now()
        tasks = entering(gate, *["acme"] * 5)
        await settle()
        assert await order_of_entry(gate, tasks) == [0, 1, 2, 3, 4]

    @virtual
    async def test_round_robin_over_tenants(self):
        gate = Gate(1)
        assert gate.enter_now()
        tasks = entering(gate, "a", "a", "a", "a", "b", "b", "c")
        await settle()
        assert await order_of_entry(gate, tasks) == [0, 4, 6, 1, 5, 2, 3]

    @virtual
    async def test_a_tenant_that_comes_late_waits_one_round_at_most(self):
        gate = Gate(1)
        assert gate.enter_now()
        tasks = entering(gate, *["a"] * 100)
        await settle()
        [late] = entering(gate, "b")
        await settle()
        gate.leave()
        await settle()
        gate.leave()
        await settle()
        assert is_in(late)
        for task in tasks:
            task.cancel()
        await settle()
        await leave_all(gate, tasks)

    @virtual
    async def test_waiters_that_left_cost_their_tenant_no_turn(self):
        gate = Gate(1)
        assert gate.enter_now()
        gone = entering(gate, *["a"] * 10)
        [patient] = entering(gate, "a")
        others = entering(gate, *["b"] * 10)
        await settle()
        for task in gone:
            task.cancel()
        await settle()
        # Tenant a came first and has one live waiter: the next free slot is its.
        assert (await order_of_entry(gate, [patient, *others]))[0] == 0

    @given(tenants=st.lists(st.sampled_from("abc"), max_size=20), width=st.integers(1, 4))
    @settings(max_examples=40)
    def test_no_tenant_gets_two_turns_while_another_waits(self, tenants, width):
        @virtual
        async def check():
            gate = Gate(width)
            while gate.enter_now():
                pass
            entered = []

            async def enter(tenant):
                await gate.enter(tenant, FOREVER)
                entered.append(tenant)

            tasks = [asyncio.create_task(enter(tenant)) for tenant in tenants]
            await settle()
            for _ in tenants:
                gate.leave()
                await settle()
            assert all(task.done() for task in tasks)
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
    async def test_patience_ends_with_no(self):
        gate = Gate(1)
        assert gate.enter_now()
        assert await gate.enter("acme", 2.5) is False
        assert now() == 2.5

    @virtual
    async def test_a_slot_passes_over_who_lost_patience(self):
        gate = Gate(1)
        assert gate.enter_now()
        [short] = entering(gate, "acme", patience=1.0)
        [long] = entering(gate, "acme")
        await asyncio.sleep(2.0)
        gate.leave()
        assert await long is True
        assert await short is False

    @virtual
    async def test_a_cancelled_waiter_leaves_the_line_to_the_next(self):
        gate = Gate(1)
        assert gate.enter_now()
        first, second = entering(gate, "acme", "acme")
        await settle()
        first.cancel()
        await settle()
        gate.leave()
        assert await second is True
        assert first.cancelled()

    @virtual
    async def test_a_waiter_cancelled_as_its_slot_comes_hands_it_on(self):
        gate = Gate(1)
        assert gate.enter_now()
        first, second = entering(gate, "acme", "globex")
        await settle()
        gate.leave()
        first.cancel()
        assert await second is True
        assert first.cancelled()
        gate.leave()
        assert gate.busy == 0
        assert gate.enter_now()

    @virtual
    async def test_a_slot_that_comes_as_patience_ends_is_kept(self):
        gate = Gate(1)
        assert gate.enter_now()
        [waiter] = entering(gate, "acme", patience=1.0)
        await settle()
        asyncio.get_running_loop().call_at(1.0, gate.leave)
        inside = await waiter
        assert gate.busy == (1 if inside else 0)

    @pytest.mark.parametrize("turns", range(5))
    def test_cancelling_at_any_turn_of_the_loop_loses_no_slot(self, turns):
        @virtual
        async def check():
            gate = Gate(1)
            assert gate.enter_now()
            tasks = entering(gate, "a", "a", "b")
            await settle(1)
            gate.leave()
            for _ in range(turns):
                await asyncio.sleep(0)
            tasks[0].cancel()
            await settle()
            if not tasks[0].cancelled():
                gate.leave()
            await settle()
            for _ in tasks[1:]:
                assert gate.busy == 1
                gate.leave()
                await settle()
            assert gate.busy == 0
            assert gate.enter_now()

        check()

    @virtual
    async def test_everybody_who_waits_may_be_cancelled(self):
        gate = Gate(2)
        assert gate.enter_now()
        assert gate.enter_now()
        tasks = entering(gate, *"abcabc")
        await settle()
        for task in tasks:
            task.cancel()
        await settle()
        gate.leave()
        gate.leave()
        assert gate.busy == 0
        assert gate.enter_now()
        assert gate.enter_now()

    @virtual
    async def test_waiting_counts_only_who_still_waits(self):
        gate = Gate(1)
        assert gate.enter_now()
        tasks = entering(gate, "acme", "acme", "globex")
        await settle()
        assert (gate.waiting("acme"), gate.waiting("globex"), gate.waiting("other")) == (2, 1, 0)
        tasks[0].cancel()
        await settle()
        assert gate.waiting("acme") == 1
        await leave_all(gate, tasks)


class TestClosing:
    @virtual
    async def test_closing_sends_everybody_away(self):
        gate = Gate(1)
        assert gate.enter_now()
        tasks = entering(gate, "acme", "globex", "acme")
        await settle()
        gate.close()
        assert await asyncio.gather(*tasks) == [False, False, False]

    @virtual
    async def test_a_closed_gate_lets_nobody_in(self):
        gate = Gate(1)
        gate.close()
        assert not gate.enter_now()
        assert await gate.enter("acme", FOREVER) is False
        assert now() == 0

    @virtual
    async def test_draining_waits_for_the_last_one(self):
        gate = Gate(2)
        assert gate.enter_now()
        assert gate.enter_now()
        gate.close()
        asyncio.get_running_loop().call_at(3.0, gate.leave)
        asyncio.get_running_loop().call_at(5.0, gate.leave)
        await gate.drain(FOREVER)
        assert now() == 5.0

    @virtual
    async def test_draining_ends_with_its_patience(self):
        gate = Gate(1)
        assert gate.enter_now()
        gate.close()
        await gate.drain(7.0)
        assert now() == 7.0

    @virtual
    async def test_draining_an_empty_gate_takes_no_time(self):
        gate = Gate(1)
        gate.close()
        await gate.drain(FOREVER)
        assert now() == 0

    @virtual
    async def test_two_may_wait_for_the_last_one(self):
        gate = Gate(1)
        assert gate.enter_now()
        gate.close()
        drains = [asyncio.create_task(gate.drain(100.0)) for _ in range(2)]
        await settle()
        gate.leave()
        await asyncio.gather(*drains)
        assert now() == 0


class GateMachine(RuleBasedStateMachine):
    """Any order of arrivals, departures, cancellations and lost patience, turn by turn of the loop."""

    waiters = Bundle("waiters")

    def __init__(self):
        super().__init__()
        self.loop = VirtualLoop()
        self.width = 2
        self.gate = self.run(self.make())
        self.arrived = itertools.count()
        self.entered = defaultdict(list)
        self.inside = 0
        self.most = 0
        self.tasks = {}

    async def make(self):
        return Gate(self.width)

    def run(self, coroutine):
        return self.loop.run_until_complete(coroutine)

    async def wait(self, number, tenant, patience):
        if await self.gate.enter(tenant, patience):
            self.inside += 1
            self.most = max(self.most, self.inside)
            self.entered[tenant].append(number)

    @rule(target=waiters, tenant=st.sampled_from("ab"), patience=st.sampled_from([0.0, 1.0, FOREVER]))
    def arrive(self, tenant, patience):
        number = next(self.arrived)
        task = self.loop.create_task(self.wait(number, tenant, patience))
        self.tasks[number] = task
        return number

    @rule()
    def turn(self):
        self.run(asyncio.sleep(0))

    @rule()
    def second(self):
        self.run(asyncio.sleep(1.0))

    @rule(number=consumes(waiters))
    def cancel(self, number):
        self.tasks[number].cancel()

    @rule()
    def leave(self):
        if self.inside:
            self.inside -= 1
            self.run(self.do(self.gate.leave))

    @rule(number=consumes(waiters))
    def leave_and_cancel_in_one_turn(self, number):
        if self.inside:
            self.inside -= 1
            self.run(self.do(self.gate.leave, self.tasks[number].cancel))

    async def do(self, *actions):
        for action in actions:
            action()

    @invariant()
    def never_more_inside_than_it_is_wide(self):
        assert self.most <= self.width
        assert self.inside <= self.gate.busy <= self.width

    @invariant()
    def first_come_first_served(self):
        for numbers in self.entered.values():
            assert numbers == sorted(numbers)

    def teardown(self):
        async def end():
            await settle()
            assert self.gate.busy == self.inside
            # Nobody waits while there is room.
            live = [task for task in self.tasks.values() if not task.done()]
            assert not live or self.inside == self.width
            while self.inside:
                self.inside -= 1
                self.gate.leave()
                await settle()
            assert all(task.done() for task in self.tasks.values())
            assert self.gate.busy == 0
            assert [self.gate.enter_now() for _ in range(self.width + 1)] == [True] * self.width + [False]

        try:
            self.run(end())
        finally:
            self.loop.close()


TestAnyOrder = GateMachine.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
