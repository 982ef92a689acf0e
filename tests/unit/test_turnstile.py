"""The turnstile: a pause, one probe, then the rest, whoever leaves the line and whenever."""

from __future__ import annotations

import asyncio
import itertools
import math

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from clarus_async.policy.pacing import Pace, Turn
from clarus_async.transport.turnstile import Turnstile
from tests.virtual import VirtualLoop, now, settle, virtual

FOREVER = 1e6


def paused(seconds=10.0):
    """A turnstile that was just refused, until so many seconds from now."""
    turnstile = Turnstile(Pace(lambda: 1.0))
    turnstile.refused(now(), seconds)
    return turnstile


def entering(turnstile, count, patience=FOREVER):
    return [asyncio.create_task(turnstile.enter(patience)) for _ in range(count)]


def turns(tasks):
    """What each has been told, ``...`` where it still waits."""
    return [task.result() if task.done() and not task.cancelled() else ... for task in tasks]


class TestPauseProbeRest:
    @virtual
    async def test_all_go_at_once_while_nothing_was_refused(self):
        turnstile = Turnstile(Pace(lambda: 1.0))
        assert await asyncio.gather(*entering(turnstile, 3)) == [Turn.GO] * 3
        assert now() == 0

    @virtual
    async def test_nobody_goes_during_the_pause(self):
        turnstile = paused(10.0)
        tasks = entering(turnstile, 3)
        await asyncio.sleep(9.9)
        assert turns(tasks) == [..., ..., ...]
        turnstile.close()
        await asyncio.gather(*tasks)

    @virtual
    async def test_one_probe_goes_after_it_and_the_rest_wait_for_its_answer(self):
        turnstile = paused(10.0)
        tasks = entering(turnstile, 4)
        await asyncio.sleep(100.0)
        assert turns(tasks) == [Turn.PROBE, ..., ..., ...]
        turnstile.answered(now())
        assert await asyncio.gather(*tasks[1:]) == [Turn.GO] * 3
        assert now() == 100.0

    @virtual
    async def test_who_comes_while_the_probe_is_out_waits_too(self):
        turnstile = paused(10.0)
        [probe] = entering(turnstile, 1)
        assert await probe is Turn.PROBE
        [late] = entering(turnstile, 1)
        await asyncio.sleep(5.0)
        assert not late.done()
        turnstile.answered(now())
        assert await late is Turn.GO

    @virtual
    async def test_a_refused_probe_begins_another_pause(self):
        turnstile = paused(10.0)
        tasks = entering(turnstile, 2)
        assert await tasks[0] is Turn.PROBE
        turnstile.refused(now(), 20.0)
        assert await tasks[1] is Turn.PROBE
        assert now() == 30.0

    @virtual
    async def test_a_probe_without_an_answer_hands_over(self):
        turnstile = paused(10.0)
        tasks = entering(turnstile, 2)
        assert await tasks[0] is Turn.PROBE
        turnstile.lost()
        assert await tasks[1] is Turn.PROBE
        assert now() == 10.0

    @virtual
    async def test_a_probe_that_goes_at_the_very_moment_of_the_refusal_is_heard(self):
        """Retry-After: 0, and a clock that shows the same to both: uvloop's has whole milliseconds."""
        turnstile = Turnstile(Pace(lambda: 1.0))
        turnstile.refused(now(), 0.0)
        assert await turnstile.enter(FOREVER) is Turn.PROBE
        turnstile.answered(now())
        assert await turnstile.enter(10.0) is Turn.GO

    @virtual
    async def test_a_longer_pause_while_it_is_on_holds_everybody_longer(self):
        turnstile = paused(10.0)
        [task] = entering(turnstile, 1)
        await asyncio.sleep(5.0)
        turnstile.refused(now(), 20.0)
        assert await task is Turn.PROBE
        assert now() == 25.0

    @virtual
    async def test_without_retry_after_pauses_grow(self):
        turnstile = Turnstile(Pace(lambda: 1.0))
        pauses = []
        for _ in range(8):
            began = now()
            turnstile.refused(now(), None)
            assert await turnstile.enter(FOREVER) is Turn.PROBE
            pauses.append(round(now() - began, 3))
        assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]

    def test_a_timer_that_fires_a_shade_early_does_not_ask_again_and_again(self):
        """Loops may run a timer up to their clock's resolution before its time; a virtual clock then stands still."""

        class Impatient(Pace):
            asked = 0

            def ask(self, now):
                self.asked += 1
                assert self.asked < 100, "it spins"
                return super().ask(now)

        async def check():
            turnstile = Turnstile(Impatient(lambda: 1.0))
            turnstile.refused(now(), 1.4618922787636765)
            assert await turnstile.enter(FOREVER) is Turn.PROBE

        with asyncio.Runner(loop_factory=CoarseLoop) as runner:
            runner.get_loop().set_exception_handler(lambda loop, context: loop.stop())
            runner.run(check())


class CoarseLoop(VirtualLoop):
    """A timer runs as soon as its time rounds to what the clock shows."""

    def call_at(self, when, callback, *args, context=None):
        return super().call_at(math.floor(when * 1e6) / 1e6, callback, *args, context=context)


class TestLeavingTheLine:
    @virtual
    async def test_regression_hikari_cancelling_one_waiter_does_not_kill_the_limiter(self):
        """hikari's buckets awaited one shared future: cancelling one waiter ended the limiter for everybody."""
        turnstile = paused(10.0)
        tasks = entering(turnstile, 3)
        await settle()
        tasks[0].cancel()
        await settle()
        assert await tasks[1] is Turn.PROBE
        turnstile.answered(now())
        assert await tasks[2] is Turn.GO
        turnstile.refused(now(), 5.0)
        assert await turnstile.enter(FOREVER) is Turn.PROBE
        assert now() == 15.0

    @virtual
    async def test_regression_hikari_cancelling_everybody_does_not_kill_the_limiter(self):
        turnstile = paused(10.0)
        tasks = entering(turnstile, 5)
        await settle()
        for task in tasks:
            task.cancel()
        await settle()
        assert turnstile.waiting == 0
        assert await turnstile.enter(FOREVER) is Turn.PROBE
        assert now() == 10.0

    @virtual
    async def test_a_waiter_cancelled_as_it_becomes_the_probe_hands_over(self):
        turnstile = paused(10.0)
        tasks = entering(turnstile, 2)
        await settle()
        # The probe's future is set by a timer; it has not run yet when it is cancelled.
        asyncio.get_running_loop().call_at(10.0, tasks[0].cancel)
        assert await tasks[1] is Turn.PROBE
        assert tasks[0].cancelled()
        assert now() == 10.0

    @virtual
    async def test_a_late_429_between_a_probe_s_turn_and_its_cancellation_does_not_kill_the_limiter(self):
        turnstile = paused(10.0)
        tasks = entering(turnstile, 2)
        await settle()

        def late_refusals_then_cancel():
            # The first makes the waiter the probe, as the timer would; the second comes before it has run.
            turnstile.refused(0.0, None)
            turnstile.refused(0.0, None)
            tasks[0].cancel()

        asyncio.get_running_loop().call_at(10.0, late_refusals_then_cancel)
        async with asyncio.timeout(1000.0):
            assert await tasks[1] is Turn.PROBE
        assert tasks[0].cancelled()

    @pytest.mark.parametrize("turn", range(4))
    def test_cancelling_at_any_turn_of_the_loop_keeps_it_alive(self, turn):
        @virtual
        async def check():
            turnstile = paused(1.0)
            tasks = entering(turnstile, 2)
            await asyncio.sleep(0.5)
            await asyncio.sleep(0.5)
            for _ in range(turn):
                await asyncio.sleep(0)
            tasks[0].cancel()
            await settle()
            if turns(tasks)[0] is Turn.PROBE:
                turnstile.lost()
            assert await tasks[1] is Turn.PROBE

        check()

    @virtual
    async def test_patience_ends_with_none(self):
        turnstile = paused(10.0)
        assert await turnstile.enter(3.0) is None
        assert now() == 3.0

    @virtual
    async def test_who_lost_patience_is_no_probe(self):
        turnstile = paused(10.0)
        [short] = entering(turnstile, 1, patience=5.0)
        [long] = entering(turnstile, 1)
        assert await long is Turn.PROBE
        assert await short is None

    @virtual
    async def test_waiting_counts_only_who_still_waits(self):
        turnstile = paused(10.0)
        tasks = entering(turnstile, 3)
        await settle()
        assert turnstile.waiting == 3
        tasks[1].cancel()
        await settle()
        assert turnstile.waiting == 2
        turnstile.close()
        await settle()
        assert turnstile.waiting == 0

    @virtual
    async def test_first_come_first_served(self):
        turnstile = paused(1.0)
        order = []

        async def enter(number):
            turn = await turnstile.enter(FOREVER)
            order.append(number)
            if turn is Turn.PROBE:
                turnstile.lost()

        await asyncio.gather(*(enter(number) for number in range(6)))
        assert order == list(range(6))


class TestClosing:
    @virtual
    async def test_closing_sends_everybody_away(self):
        turnstile = paused(10.0)
        tasks = entering(turnstile, 3)
        await settle()
        turnstile.close()
        assert await asyncio.gather(*tasks) == [None] * 3
        assert now() == 0

    @virtual
    async def test_nobody_enters_once_it_is_closed(self):
        turnstile = Turnstile(Pace(lambda: 1.0))
        turnstile.close()
        assert await turnstile.enter(FOREVER) is None

    @virtual
    async def test_closing_leaves_no_timer(self):
        turnstile = paused(10.0)
        tasks = entering(turnstile, 2)
        await settle()
        turnstile.close()
        await asyncio.gather(*tasks)
        loop = asyncio.get_running_loop()
        assert [handle for handle in loop._scheduled if not handle.cancelled()] == []


RETRY_AFTERS = st.sampled_from([None, 0.0, 0.001, 1.0, 5.0])


class TurnstileMachine(RuleBasedStateMachine):
    """Any order of arrivals, refusals, answers, lost probes, cancellations and lost patience."""

    waiters = Bundle("waiters")

    def __init__(self):
        super().__init__()
        self.loop = VirtualLoop()
        self.turnstile = Turnstile(Pace(lambda: 1.0))
        self.numbers = itertools.count()
        self.tasks = {}
        self.probing = False
        self.overlapped = False
        self.out_of_turn = False

    async def wait(self, patience):
        turn = await self.turnstile.enter(patience)
        if turn is Turn.PROBE:
            self.overlapped |= self.probing
            self.probing = True
            self.probe_sent_at = self.loop.time()
        elif turn is Turn.GO:
            self.out_of_turn |= self.turnstile.pace.paused_until is not None and self.probing

    def do(self, action):
        async def act():
            action()

        self.loop.run_until_complete(act())

    @rule(target=waiters, patience=st.sampled_from([0.0, 1.0, FOREVER]))
    def arrive(self, patience):
        number = next(self.numbers)
        self.tasks[number] = self.loop.create_task(self.wait(patience))
        return number

    @rule(seconds=st.sampled_from([0.0, 0.001, 1.0, 10.0]))
    def time_passes(self, seconds):
        self.loop.run_until_complete(asyncio.sleep(seconds))

    @rule(number=consumes(waiters))
    def cancel(self, number):
        self.tasks[number].cancel()

    @rule(number=consumes(waiters))
    def cancel_as_the_pause_ends(self, number):
        until = self.turnstile.pace.paused_until
        if until is not None and until > self.loop.time():
            self.loop.call_at(until, self.tasks[number].cancel)
            self.loop.run_until_complete(asyncio.sleep(until - self.loop.time()))

    @rule(retry_after=RETRY_AFTERS)
    def somebody_is_refused(self, retry_after):
        # A request that was under way when the pause began; after that, only the probe is.
        pace = self.turnstile.pace
        self.do(lambda: self.turnstile.refused(0.0 if pace.paused_until is not None else self.loop.time(), retry_after))

    @rule(number=consumes(waiters), retry_after=RETRY_AFTERS)
    def a_late_refusal_and_a_cancellation_in_one_turn(self, number, retry_after):
        until = self.turnstile.pace.paused_until
        if until is not None and until > self.loop.time():

            def both():
                self.turnstile._serve()
                self.turnstile.refused(0.0, retry_after)
                self.tasks[number].cancel()

            self.loop.call_at(until, both)
            self.loop.run_until_complete(asyncio.sleep(until - self.loop.time()))

    @rule(retry_after=RETRY_AFTERS)
    def the_probe_is_refused(self, retry_after):
        if self.probing:
            self.probing = False
            self.do(lambda: self.turnstile.refused(self.probe_sent_at, retry_after))

    @rule()
    def the_probe_is_answered(self):
        if self.probing:
            self.probing = False
            self.do(lambda: self.turnstile.answered(self.probe_sent_at))

    @rule()
    def the_probe_is_lost(self):
        if self.probing:
            self.probing = False
            self.do(self.turnstile.lost)

    @invariant()
    def one_probe_at_a_time(self):
        assert not self.overlapped

    @invariant()
    def nobody_goes_while_a_probe_is_out(self):
        assert not self.out_of_turn

    def teardown(self):
        async def end():
            # However it came here: who still waits gets a turn, as long as probes are answered.
            async with asyncio.timeout(200):
                while not all(task.done() for task in self.tasks.values()):
                    await asyncio.sleep(1.0)
                    if self.probing:
                        self.probing = False
                        self.turnstile.answered(self.loop.time())
            assert self.turnstile.waiting == 0

        async def cancel():
            for task in self.tasks.values():
                task.cancel()
            await settle()

        try:
            self.loop.run_until_complete(end())
        finally:
            self.loop.run_until_complete(cancel())
            self.loop.close()


TestAnyOrder = TurnstileMachine.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
