"""Processes that share a pace, in virtual time: what Redis does for them is done in memory."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random

import pytest

from clarus_async.config import PacingPolicy
from clarus_async.ratelimit.pace import PaceSource, Sent
from clarus_async.ratelimit.pace_leader import Leader, MemberEvent, MemberReport
from clarus_async.ratelimit.shared_pace import SharedClock
from clarus_async.simulator.limiters import FixedWindow, SlidingLog
from tests.support.limiters import Unlimited
from tests.support.sharing import Process, Server, Store, leader_of
from tests.support.virtual import now, settle, virtual


@contextlib.asynccontextmanager
async def sharing(count, server, store=None, **policy):
    """So many processes, which have ended when it is over, and left nothing behind."""
    store = Store() if store is None else store
    processes = [Process(store, server, f"process {number}", **policy) for number in range(count)]
    try:
        yield processes
    finally:
        for process in processes:
            await process.close()


def work(processes, *width, **more):
    for process in processes:
        process.work(*width, **more)


async def until(something):
    while not something():  # noqa: ASYNC110  it has no event
        await asyncio.sleep(0.001)


def most_in_a_second(server):
    times = sorted(at for at, _, admitted in server.seen if admitted)
    return max(sum(start <= at < start + 1.0 for at in times) for start in times)


class TestTogether:
    @virtual
    async def test_four_use_the_quota_that_nobody_tells_of_and_have_equal_shares(self):
        server = Server(SlidingLog(100, 1.0))
        async with sharing(4, server) as processes:
            work(processes)
            await asyncio.sleep(40.0)
            shares = [server.admitted(process=process.name) for process in processes]
            assert sum(shares) >= 0.9 * 100 * 40
            assert max(shares) - min(shares) <= 0.05 * sum(shares)
            assert server.refused() <= 0.02 * len(server.seen)
            assert {process.pace.source for process in processes} == {PaceSource.LEARNED}
            assert len({round(process.pace.rate) for process in processes}) <= 2

    @virtual
    async def test_a_rate_that_is_given_is_kept_by_all_together(self):
        server = Server(Unlimited())
        async with sharing(4, server, rate=40.0, burst=1) as processes:
            work(processes)
            await asyncio.sleep(20.0)
            assert 40 * 20 - 10 <= server.admitted() <= 40 * 20 + 1
            assert most_in_a_second(server) <= 42
            assert {(process.pace.source, process.pace.rate) for process in processes} == {(PaceSource.GIVEN, 40.0)}

    @virtual
    async def test_one_that_wants_little_does_not_wait_for_one_that_wants_much(self):
        server = Server(Unlimited())
        async with sharing(2, server, rate=20.0) as (greedy, modest):
            greedy.work(50)
            await asyncio.sleep(1.0)
            for _ in range(10):
                before = now()
                await modest.request()
                # Two slots, the round trip, and what messages take.
                assert now() - before <= 2 / 20 + 0.05
                await asyncio.sleep(1.0)

    @virtual
    async def test_who_leads_needs_no_message_and_who_is_alone_few_exchanges(self):
        store, server = Store(), Server(FixedWindow(50, 1.0))
        async with sharing(1, server, store) as [process]:
            process.work()
            await asyncio.sleep(20.0)
            assert server.admitted() >= 0.9 * 50 * 20
            assert store.messages == 0
            assert sum(store.exchanges.values()) <= 20 / 0.4 + 5

    @virtual
    async def test_messages_go_together(self):
        store, server = Store(), Server(Unlimited(), rtt=0.05)
        async with sharing(4, server, store, rate=400.0) as processes:
            work(processes, 16)
            await asyncio.sleep(5.0)
            assert server.admitted() >= 0.95 * 400 * 5
            # At most four in 20 ms for each.
            assert max(store.exchanges.values()) <= 200 * 5

    @virtual
    async def test_a_redis_that_is_far_away_costs_nothing_of_the_rate(self):
        server = Server(Unlimited())
        async with sharing(3, server, Store(delay=0.1), rate=50.0) as processes:
            work(processes, 16)
            await asyncio.sleep(21.0)
            assert server.admitted(since=1.0) >= 0.97 * 50 * 20
            assert all(server.admitted(process=process.name) > 200 for process in processes)

    @virtual
    async def test_what_one_is_told_to_wait_all_wait_and_all_know(self):
        server = Server(FixedWindow(10, 60.0), retry_after=30.0)
        async with sharing(3, server) as processes:
            work(processes, 2)
            await until(server.refused)
            await asyncio.sleep(0.1)
            assert [round(process.pace.pause(now())) for process in processes] == [30, 30, 30]
            sent = len(server.seen)
            await asyncio.sleep(25.0)
            assert len(server.seen) == sent

    @virtual
    async def test_a_pause_that_has_no_request_is_told_too(self):
        server = Server(Unlimited())
        async with sharing(2, server, rate=10.0) as processes:
            work(processes, 1)
            await asyncio.sleep(1.0)
            follower = next(process for process in processes if not process.leads)
            follower.pace.hold(20.0, now())
            await asyncio.sleep(0.1)
            assert leader_of(processes).pace.pause(now()) == pytest.approx(19.9, abs=0.1)

    @virtual
    async def test_nothing_is_asked_while_nobody_sends(self):
        store, server = Store(), Server(Unlimited())
        async with sharing(3, server, store, rate=100.0) as processes:
            work(processes, 2, until=2.0)
            await asyncio.sleep(20.0)
            exchanges = sum(store.exchanges.values())
            await asyncio.sleep(1000.0)
            assert sum(store.exchanges.values()) == exchanges
            assert not any(process.sharing._tasks for process in processes)
            await processes[0].request()

    @virtual
    async def test_a_turn_that_is_not_used_is_anothers(self):
        server = Server(Unlimited())
        async with sharing(2, server, rate=10.0, burst=1) as (one, other):
            one.work(1, until=1.0)
            await asyncio.sleep(3.0)
            for _ in range(5):
                # It is granted a slot, and has gone when that is due.
                waiting = asyncio.create_task(one.request())
                await settle()
                waiting.cancel()
                before = now()
                await other.request()
                assert now() - before < 0.35


class TestLeading:
    @virtual
    async def test_another_leads_soon_after_a_leader_died_and_knows_what_it_knew(self):
        server = Server(SlidingLog(100, 1.0))
        async with sharing(4, server) as processes:
            work(processes)
            await asyncio.sleep(15.0)
            leader = leader_of(processes)
            died, rate = now(), leader.pace.rate
            await leader.die()
            processes.remove(leader)
            await until(lambda: any(process.leads for process in processes))
            assert now() - died <= 2.0
            assert leader_of(processes).pace.source is PaceSource.LEARNED
            assert leader_of(processes).pace.rate == pytest.approx(rate, rel=0.1)
            since = now()
            await asyncio.sleep(10.0)
            assert server.admitted(since=since) >= 0.85 * 100 * 10
            assert server.refused(since=since) <= 30
            assert len([process for process in processes if process.leads]) == 1

    @virtual
    async def test_one_that_leaves_is_followed_at_once(self):
        server = Server(Unlimited())
        async with sharing(3, server, rate=50.0) as processes:
            work(processes)
            await asyncio.sleep(5.0)
            leader = leader_of(processes)
            left = now()
            await leader.close()
            processes.remove(leader)
            await until(lambda: any(process.leads for process in processes))
            assert now() - left <= 0.02
            await asyncio.sleep(5.0)
            assert server.admitted(since=left + 0.1) >= 0.97 * 50 * 4.9

    @virtual
    async def test_what_was_learned_outlives_all_of_them(self):
        store, server = Store(), Server(SlidingLog(100, 1.0))
        async with sharing(2, server, store) as processes:
            work(processes)
            await asyncio.sleep(10.0)
        await asyncio.sleep(600.0)
        refused = server.refused()
        async with sharing(1, server, store) as [process]:
            await process.request()
            assert (process.pace.source, round(process.pace.rate, -1)) == (PaceSource.LEARNED, 100)
            process.work()
            await asyncio.sleep(3.0)
            assert server.refused() - refused <= 5

    @virtual
    async def test_it_is_kept_at_most_once_a_second(self):
        store, server = Store(), Server(SlidingLog(100, 1.0))
        async with sharing(2, server, store) as processes:
            work(processes)
            await asyncio.sleep(10.0)
            assert 8 <= len(store.saved) <= 11

    @virtual
    async def test_what_was_learned_and_can_not_be_read_is_learned_anew(self):
        store, server = Store(), Server(FixedWindow(50, 1.0))
        for learned in ("not JSON", "[]", '{"source": "dreamt"}'):
            store.learned["https://clarus.test|acme"] = learned
            async with sharing(1, server, store) as [process]:
                await process.request()
                assert process.pace.source is PaceSource.NONE

    @virtual
    async def test_what_redis_forgets_as_it_is_started_anew_is_known_to_who_led(self):
        store, server = Store(), Server(SlidingLog(100, 1.0))
        async with sharing(1, server, store) as [process]:
            process.work()
            await asyncio.sleep(10.0)
            rate = process.pace.rate
            process.sharing.cut_off = True
            await asyncio.sleep(1.0)
            store.leases.clear(), store.learned.clear()
            process.sharing.cut_off = False
            await asyncio.sleep(3.0)
            assert process.leads
            assert process.pace.source is PaceSource.LEARNED
            assert process.pace.rate == pytest.approx(rate, rel=0.15)

    @virtual
    async def test_one_that_leads_no_more_and_does_not_know_grants_nothing(self):
        store, server = Store(), Server(Unlimited())
        async with sharing(2, server, store, rate=100.0, burst=1) as processes:
            work(processes)
            await asyncio.sleep(3.0)
            stopped = leader_of(processes)
            # What it is answered comes late, as where a process or its network stands still for a while.
            exchange = stopped.sharing._exchange

            async def late(*asked):
                await asyncio.sleep(4.0)
                return await exchange(*asked)

            stopped.sharing._exchange = late
            since = now()
            await asyncio.sleep(8.0)
            assert sum(process.leads for process in processes if process is not stopped) == 1
            # Both led for a lease at most.
            assert server.admitted(since=since) <= 100 * (8.0 + 0.1)
            assert most_in_a_second(server) <= 105

    @virtual
    async def test_what_a_dead_process_held_is_given_up(self):
        server = Server(Unlimited(), rtt=600.0)
        async with sharing(2, server) as (one, other):
            one.work(1)
            await asyncio.sleep(0.1)
            assert one.leads
            other.work(20)
            await asyncio.sleep(1.0)
            pace = one.pace._leader.pace
            assert len(pace._out) > 1
            await other.die()
            await asyncio.sleep(6.0)
            assert len(pace._out) == 1
            assert one.pace._notice.members == 1


class TestTrouble:
    @virtual
    async def test_one_that_is_cut_off_keeps_to_its_part_and_the_others_go_on(self):
        server = Server(Unlimited())
        async with sharing(4, server, rate=100.0) as processes:
            work(processes)
            await asyncio.sleep(3.0)
            lost = leader_of(processes)
            since = now()
            lost.sharing.cut_off = True
            await asyncio.sleep(3.0)
            assert lost.pace.rate == pytest.approx(25.0)
            await asyncio.sleep(10.0)
            assert server.admitted(since=since + 3.0, process=lost.name) == pytest.approx(250, abs=10)
            rest = [process for process in processes if process is not lost]
            assert server.admitted(since=since + 3.0) - 250 == pytest.approx(1000, abs=30)
            assert sum(process.leads for process in rest) == 1
            lost.sharing.cut_off = False
            await asyncio.sleep(6.0)
            assert {process.pace.rate for process in processes} == {100.0}
            since = now()
            await asyncio.sleep(10.0)
            assert server.admitted(since=since) == pytest.approx(1000, abs=10)

    @virtual
    async def test_messages_that_are_lost_cost_little(self):
        class Lossy(Store):
            lost = 0

            def exchange(self, me, name, asked):
                kept = [message for message in asked.messages if random.random() > 0.1]
                self.lost += len(asked.messages) - len(kept)
                return super().exchange(me, name, asked._replace(messages=kept))

        store, server = Lossy(), Server(Unlimited())
        async with sharing(3, server, store, rate=100.0) as processes:
            work(processes)
            await asyncio.sleep(20.0)
            assert store.lost > 100
            assert server.admitted() >= 0.8 * 100 * 20
            leader = leader_of(processes).pace._leader
            # Nothing that was lost is taken for something that is under way.
            assert len(leader.pace._out) <= 3 * 8 + 10

    @virtual
    async def test_who_waits_for_a_slot_that_was_lost_on_its_way_is_granted_another(self):
        class Losing(Store):
            loses = 0

            def exchange(self, me, name, asked):
                notices = [message for message in asked.messages if message[0]]
                if self.loses and notices:
                    self.loses -= 1
                    asked = asked._replace(messages=[])
                return super().exchange(me, name, asked)

        store, server = Losing(), Server(Unlimited())
        async with sharing(2, server, store, rate=100.0) as processes:
            for process in processes:
                await process.request()
            [follower] = [process for process in processes if not process.leads]
            store.loses = 1
            before = now()
            await follower.request()
            assert store.loses == 0
            assert now() - before < 2.0

    @virtual
    async def test_messages_that_are_none_are_ignored(self):
        store, server = Store(), Server(Unlimited())
        async with sharing(2, server, store, rate=100.0) as processes:
            work(processes)
            await asyncio.sleep(1.0)
            name = processes[0].pace.name
            for process in processes:
                for junk in ("", "{", "7", "[]", '["nobody", null]', *(json.dumps([name, fields]) for fields in JUNK)):
                    store.inboxes[process.sharing._me].append(junk)
            await asyncio.sleep(10.0)
            assert server.admitted() >= 0.97 * 100 * 11
            assert all(process.pace.rate == 100.0 for process in processes)


JUNK = (
    [],
    7,
    {},
    "x",
    [1, 2, 3],
    ["dreamt", None, None, 0, 0, 1, 0, []],
    ["me", 0, 0, [], [7]],
    ["me", None, None, None, None],
)


class Recorder:
    """An estimator that lets everything through, and writes down what it hears."""

    source = PaceSource.LEARNED
    rate = 10.0
    limit = None

    def __init__(self):
        self.heard = []
        self.paused_until = 0.0

    def ask(self, at):
        return 0.0

    def send(self, at):
        return Sent(at, 1)

    def pause(self, at):
        return max(0.0, self.paused_until - at)

    def next_slot(self, at):
        return self.pause(at)

    def answered(self, sent, at, headers):
        self.heard.append(("answered", sent.at, at))

    def refused(self, sent, at, retry_after, headers):
        self.heard.append(("refused", sent.at, at))
        self.rate = 5.0

    def lost(self, sent):
        self.heard.append(("lost", sent.at))

    def unsent(self, sent):
        self.heard.append(("unsent", sent.at))

    def hold(self, seconds, at):
        self.paused_until = at + seconds


class TestLeader:
    def leader(self):
        leader = Leader(Recorder(), "me", 100)
        leader.receive(MemberReport("one", 0, 3, [], []), 10.0)
        leader.receive(MemberReport("other", 0, 1, [], []), 10.0)
        leader.grant(10.0)
        return leader, leader.pace

    def test_it_grants_in_turn_and_as_much_as_is_wanted(self):
        leader, _ = self.leader()
        one, other = (leader.notice(name, 10.0) for name in ("one", "other"))
        assert [number for number, _ in one.slots] == [101, 103, 104]
        assert [number for number, _ in other.slots] == [102]
        assert (one.rate, one.members, one.recalled) == (10.0, 3, 0)

    def test_a_slot_that_is_on_its_way_is_not_granted_twice(self):
        leader, _ = self.leader()
        leader.notice("one", 10.0)
        leader.receive(MemberReport("one", 101, 3, [101], []), 10.1)
        leader.grant(10.1)
        assert [number for number, _ in leader.notice("one", 10.1).slots] == [105]

    def test_what_is_heard_of_slots_is_heard_once(self):
        leader, pace = self.leader()
        answered = MemberEvent(101, "answered", 10.01, 10.05)
        for _ in range(2):
            leader.receive(MemberReport("one", 104, 0, [103, 104], [answered]), 10.06)
        leader.receive(MemberReport("other", 102, 0, [], [MemberEvent(103, "answered", 10.0, 10.1)]), 10.1)
        assert pace.heard == [("answered", 10.01, 10.05), ("lost", 10.0)]

    def test_what_a_process_that_leaves_holds_is_lost(self):
        leader, pace = self.leader()
        leader.receive(MemberReport("one", 104, 0, [101, 103, 104], [MemberEvent(0, "leaves")]), 10.1)
        assert pace.heard == [("lost", 10.0)] * 3
        assert leader.others == ["other"]

    def test_one_that_is_silent_is_forgotten(self):
        leader, pace = self.leader()
        leader.drop_silent(14.0)
        assert sorted(leader.others) == ["one", "other"]
        leader.receive(MemberReport("other", 102, 0, [102], []), 14.0)
        leader.drop_silent(16.0)
        assert leader.others == ["other"]
        assert pace.heard == [("lost", 10.0)] * 3

    def test_a_slower_pace_recalls_what_was_granted_at_a_faster_one(self):
        leader, pace = self.leader()
        leader.notice("one", 10.0), leader.notice("other", 10.0)
        assert leader.uninformed(10.0) == []
        leader.receive(MemberReport("one", 104, 0, [103, 104], [MemberEvent(101, "refused", 10.01, 10.05)]), 10.06)
        assert sorted(leader.uninformed(10.06)) == ["one", "other"]
        assert leader.notice("other", 10.06).recalled == 104
        # One that went out before that was known counts as sent before, not as one of the slower pace.
        leader.receive(MemberReport("one", 104, 0, [104], [MemberEvent(103, "refused", 10.2, 10.25)]), 10.26)
        (_, first, slower_at), (_, second, _) = pace.heard
        assert first == 10.01
        assert second == slower_at < 10.2

    def test_a_pause_is_told_to_all(self):
        leader, _ = self.leader()
        leader.notice("one", 10.0), leader.notice("other", 10.0)
        leader.receive(MemberReport("one", 104, 0, [101, 103, 104], [MemberEvent(0, "hold", at=40.0)]), 10.1)
        assert leader.notice("other", 10.1).paused_until == pytest.approx(40.0)


class TestClock:
    def test_the_shortest_round_trip_tells_most(self):
        clock = SharedClock()
        clock.read(1000.3, 0.0, 1.0)
        assert clock.ahead == pytest.approx(999.8)
        clock.read(1001.0, 1.0, 1.002)
        assert clock.ahead == pytest.approx(999.999)
        # A long one tells nothing new.
        clock.read(1002.9, 2.0, 3.0)
        assert clock.ahead == pytest.approx(999.999)

    def test_clocks_drift_apart(self):
        clock = SharedClock()
        clock.read(1000.0, 0.0, 0.002)
        clock.read(1100.02, 100.0, 100.02)
        assert clock.ahead == pytest.approx(1000.01)

    def test_one_that_was_set_is_believed(self):
        clock = SharedClock()
        clock.read(1000.0, 0.0, 0.002)
        clock.read(5001.0, 1.0, 1.1)
        assert clock.ahead == pytest.approx(4999.95)


def test_a_policy_that_is_given_is_known_before_anybody_was_asked():
    process = Process(None, None, "one", rate=7.0)
    assert (process.pace.rate, process.pace.source, process.pace.pause(0.0)) == (7.0, PaceSource.GIVEN, 0.0)
    assert Process(None, None, "one").pace.rate is PacingPolicy().rate
