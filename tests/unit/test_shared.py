"""What the views of a client share: tenants are forgotten when they are idle, and only then."""

from __future__ import annotations

import asyncio
import builtins

import pytest

from clarus_async.auth.token import HeldToken
from clarus_async.calls import core as module
from clarus_async.calls.core import ClientCore
from clarus_async.config import PacingPolicy
from tests.support.virtual import now, settle, virtual

FOREVER = 1e6
ROOM = 8


@pytest.fixture
def room(monkeypatch):
    monkeypatch.setattr(module, "_ROOM", ROOM)


@pytest.fixture
def sorting(monkeypatch):
    """How many tenants were sorted, each time."""
    counts = []

    def counted(items, **options):
        items = list(items)
        counts.append(len(items))
        return builtins.sorted(items, **options)

    monkeypatch.setattr(module, "sorted", counted, raising=False)
    return counts


def new(width=10, **policy):
    return ClientCore("https://clarus.test", width, PacingPolicy(**policy), None, None)


async def started(width=10, **policy):
    """A client's shared part, at a time at which whoever sends nothing is idle."""
    await asyncio.sleep(1_000.0)
    shared = new(width, **policy)
    shared.bind()
    return shared


def names(shared):
    return list(shared._tenants)


def send(shared, name):
    queue = shared.tenant(name).queue
    sent = shared.connections.acquire_now(queue, now())
    assert sent is not None
    return queue, sent


def send_and_hear(shared, name):
    queue, sent = send(shared, name)
    queue.answered(sent, now())
    queue.release(sent)


def be_refused(shared, name, retry_after):
    queue, sent = send(shared, name)
    queue.refused(sent, now(), retry_after)
    queue.release(sent)


async def strangers(shared, count):
    """Have so many tenants called that nobody knows yet, one a millisecond."""
    most = 0
    for number in range(count):
        await asyncio.sleep(0.001)
        shared.tenant(f"stranger-{number}")
        most = max(most, len(shared._tenants))
    return most


class TestForgetting:
    @virtual
    async def test_ten_thousand_names_take_bounded_room(self):
        shared = await started()
        most = 0
        for number in range(10_000):
            shared.tenant(f"tenant-{number}")
            most = max(most, len(shared._tenants))
        assert most == module._ROOM == 4096

    @virtual
    async def test_those_that_sent_are_forgotten_too(self, room):
        shared = await started()
        for number in range(1_000):
            send_and_hear(shared, f"tenant-{number}")
            await asyncio.sleep(0.1)
            assert len(shared._tenants) <= ROOM

    @virtual
    async def test_nobody_is_forgotten_while_there_is_room(self, room, sorting):
        shared = await started()
        assert await strangers(shared, ROOM) == ROOM
        assert len(names(shared)) == ROOM
        assert sorting == []

    @virtual
    async def test_a_tenant_that_is_known_makes_nobody_forgotten(self, room, sorting):
        shared = await started()
        await strangers(shared, ROOM)
        for _ in range(100):
            shared.tenant("stranger-0")
        assert (len(names(shared)), sorting) == (ROOM, [])

    @virtual
    async def test_what_was_called_longest_ago_goes_first(self, room):
        shared = await started()
        await strangers(shared, ROOM)
        # Called again, in another order.
        for number in (1, 0, 3):
            await asyncio.sleep(1.0)
            shared.tenant(f"stranger-{number}")
        await asyncio.sleep(1.0)
        shared.tenant("new")
        assert names(shared) == ["stranger-0", "stranger-1", "stranger-3", "stranger-7", "new"]

    @virtual
    async def test_whoever_is_called_often_is_never_forgotten(self, room):
        shared = await started()
        regular = shared.tenant("regular")
        for number in range(1_000):
            await asyncio.sleep(0.001)
            shared.tenant(f"stranger-{number}")
            assert shared.tenant("regular") is regular

    @virtual
    async def test_what_was_forgotten_is_a_stranger_afterwards(self, room):
        shared = await started()
        before = shared.tenant("acme")
        before.searchable = True
        await strangers(shared, ROOM)
        after = shared.tenant("acme")
        assert after is not before
        assert after.searchable is None
        assert after.queue is not before.queue


class TestNeverForgotten:
    @virtual
    async def test_one_with_a_request_under_way(self, room):
        shared = await started()
        queue, sent = send(shared, "acme")
        await strangers(shared, 1_000)
        assert shared.queue("acme") is queue
        queue.answered(sent, now())
        queue.release(sent)
        await asyncio.sleep(1.0)
        await strangers(shared, 1_000)
        assert "acme" not in names(shared)

    @virtual
    async def test_one_with_waiters(self, room):
        shared = await started(width=1)
        other, sent = send(shared, "other")
        queue = shared.tenant("acme").queue
        waiter = asyncio.create_task(shared.connections.acquire(queue, "acme", FOREVER))
        await settle()
        assert len(queue.pace._out) == 0
        await strangers(shared, 1_000)
        assert shared.queue("acme") is queue
        other.release(sent)
        queue.release(await waiter)

    @virtual
    async def test_one_that_may_not_send_yet(self, room):
        shared = await started()
        be_refused(shared, "acme", retry_after=3600.0)
        queue = shared.queue("acme")
        await asyncio.sleep(3590.0)
        await strangers(shared, 1_000)
        assert shared.queue("acme") is queue
        await asyncio.sleep(20.0)
        await strangers(shared, 1_000)
        assert "acme" not in names(shared)

    @virtual
    async def test_one_that_was_refused_without_retry_after(self, room):
        shared = await started()
        be_refused(shared, "acme", retry_after=None)
        pace = shared.queue("acme").pace
        assert pace.pause(now()) > 0.05
        await strangers(shared, 50)
        assert pace.pause(now()) > 0.0
        assert shared.queue("acme").pace is pace

    @virtual
    async def test_one_whose_given_rate_allows_nothing_yet(self, room):
        shared = await started(rate=0.01)
        send_and_hear(shared, "acme")
        await asyncio.sleep(1.0)
        await strangers(shared, 1_000)
        # A second after the first request; the rate has 100 seconds between them.
        assert shared.connections.acquire_now(shared.tenant("acme").queue, now()) is None

    @virtual
    @pytest.mark.parametrize("scope", ["tenant", "client"])
    async def test_one_with_a_create_that_is_under_way_between_two_requests(self, room, scope):
        shared = await started(scope=scope)
        creates = shared.tenant("acme").creates
        creates.begin("name=shop", now(), "one")
        await asyncio.sleep(1.0)
        await strangers(shared, 1_000)
        assert shared.tenant("acme").creates is creates
        creates.end("name=shop", now(), "one", 7)
        await asyncio.sleep(100.0)
        await strangers(shared, 1_000)
        assert "acme" not in names(shared)

    @virtual
    async def test_one_with_a_create_that_ended_in_doubt(self, room):
        shared = await started()
        creates = shared.tenant("acme").creates
        creates.begin("name=shop", now(), "one")
        creates.end("name=shop", now(), "one", until=now() + 60.0)
        await asyncio.sleep(300.0)
        await strangers(shared, 1_000)
        assert shared.tenant("acme").creates is creates
        await asyncio.sleep(1_000.0)
        await strangers(shared, 1_000)
        assert "acme" not in names(shared)

    @virtual
    async def test_one_whose_schema_is_asked_for(self, room):
        shared = await started()
        tenant = shared.tenant("acme")
        async with tenant.schema:
            await asyncio.sleep(1.0)
            await strangers(shared, 1_000)
            assert shared.tenant("acme") is tenant

    @virtual
    @pytest.mark.parametrize("settles", [False, True])
    async def test_one_whose_retries_are_used_up(self, room, settles):
        shared = await started()
        budget = shared.tenant("acme").budget_of(settles=settles)
        while budget.take(now()):
            pass
        await asyncio.sleep(30.0)
        await strangers(shared, 1_000)
        assert shared.tenant("acme").budget_of(settles=settles) is budget
        await asyncio.sleep(31.0)
        await strangers(shared, 1_000)
        assert "acme" not in names(shared)

    @virtual
    async def test_one_whose_next_token_is_not_due(self, room):
        shared = await started()
        refusals = shared.tenant("acme").refusals
        for _ in range(8):
            refusals.refused(HeldToken("t", now(), 3600.0), now(), lambda: 1.0)
        assert refusals.wait(now()) > 2.0
        await strangers(shared, 1_000)
        assert shared.tenant("acme").refusals is refusals

    @virtual
    async def test_one_that_waits_where_all_have_one_pace(self, room):
        shared = await started(width=1, scope="client")
        queue, sent = send(shared, "other")
        tenant = shared.tenant("acme")
        waiter = asyncio.create_task(shared.connections.acquire(queue, "acme", FOREVER))
        await settle()
        await strangers(shared, 1_000)
        assert shared.tenant("acme") is tenant
        queue.release(sent)
        queue.release(await waiter)


class TestAllBusy:
    @virtual
    async def test_it_grows_and_does_not_sort_at_each_call(self, room, sorting):
        shared = await started(width=2_000)
        inside = []
        for number in range(1_000):
            inside.append(send(shared, f"busy-{number}"))
        assert len(names(shared)) == 1_000
        # Each time there are twice as many: 8, 16, ... 512, and in all no more than two for each that is known.
        assert sorting == [ROOM * 2**n for n in range(7)]
        for queue, sent in inside:
            queue.release(sent)

    @virtual
    async def test_it_is_amortized_where_half_of_them_are_busy(self, room, sorting):
        shared = await started(width=2_000)
        inside = []
        for number in range(1_000):
            await asyncio.sleep(0.001)
            inside.append(send(shared, f"busy-{number}"))
            shared.tenant(f"idle-{number}")
        assert sum(sorting) <= 4 * 2_000
        assert {f"busy-{number}" for number in range(1_000)} <= set(names(shared))
        for queue, sent in inside:
            queue.release(sent)

    @virtual
    async def test_it_is_amortized_where_nobody_is(self, sorting):
        shared = await started()
        for number in range(20_000):
            shared.tenant(f"tenant-{number}")
        # Half goes each time, so that each is sorted twice.
        assert sum(sorting) <= 2 * 20_000

    @virtual
    async def test_it_shrinks_when_they_are_done(self, room):
        shared = await started(width=2_000)
        inside = [send(shared, f"busy-{number}") for number in range(1_000)]
        for queue, sent in inside:
            queue.release(sent)
        await asyncio.sleep(10.0)
        await strangers(shared, 3_000)
        assert not any(name.startswith("busy") for name in names(shared))
        assert len(names(shared)) <= 2_000

    @virtual
    async def test_one_busy_tenant_makes_no_room_for_others(self, room):
        shared = await started()
        queue, sent = send(shared, "busy")
        most = await strangers(shared, 10_000)
        queue.release(sent)
        assert most <= 2 * ROOM

    @virtual
    async def test_a_crowd_of_the_past_takes_no_room_for_ever(self, room):
        shared = await started(width=2_000)
        inside = [send(shared, f"busy-{number}") for number in range(1_000)]
        for queue, sent in inside:
            queue.release(sent)
        await asyncio.sleep(3600.0)
        await strangers(shared, 10_000)
        assert len(names(shared)) <= 2 * ROOM


class TestOneQuotaForAll:
    @virtual
    async def test_all_tenants_share_one_queue(self):
        shared = await started(scope="client")
        assert shared.tenant("acme").queue is shared.tenant("globex").queue
        assert shared.queue("nobody") is shared.queue("acme")
        assert shared.tenant("acme").budget is not shared.tenant("globex").budget

    @virtual
    async def test_each_tenant_has_its_own_otherwise(self):
        shared = await started()
        assert shared.tenant("acme").queue is not shared.tenant("globex").queue
        assert shared.tenant("acme") is shared.tenant("acme")

    @virtual
    async def test_they_are_bounded_too(self, room):
        shared = await started(scope="client")
        queue, sent = send(shared, "acme")
        queue.refused(sent, now(), 3600.0)
        # Neither a pause nor what is under way is of one tenant, so neither keeps one.
        assert await strangers(shared, 10_000) <= ROOM
        assert shared.queue("acme") is queue
        queue.release(sent)

    @virtual
    async def test_a_refusal_of_one_holds_back_all(self):
        shared = await started(scope="client")
        be_refused(shared, "acme", retry_after=10.0)
        assert shared.connections.acquire_now(shared.tenant("globex").queue, now()) is None

    @virtual
    async def test_a_refusal_of_one_holds_back_nobody_else_otherwise(self):
        shared = await started()
        be_refused(shared, "acme", retry_after=10.0)
        assert shared.connections.acquire_now(shared.tenant("globex").queue, now())

    @virtual
    async def test_closing_sends_all_away_that_wait(self, room):
        shared = await started(scope="client")
        shared.bind()
        be_refused(shared, "acme", retry_after=3600.0)
        tasks = [
            asyncio.create_task(shared.connections.acquire(shared.tenant(name).queue, name, FOREVER))
            for name in ("acme", "globex", "acme")
        ]
        await settle()
        # Who waits may have been forgotten by now.
        await strangers(shared, 100)
        await shared.close()
        assert await asyncio.gather(*tasks) == [None, None, None]


class TestLooking:
    @virtual
    async def test_a_tenant_that_nobody_knows_is_not_made(self):
        shared = await started()
        queue = shared.queue("acme")
        assert names(shared) == []
        assert (queue.waiting("acme"), queue.pace.rate, len(queue.pace._out)) == (0, None, 0)

    @virtual
    async def test_looking_is_not_calling(self, room):
        shared = await started()
        await strangers(shared, ROOM)
        shared.queue("stranger-0")
        shared.tenant("new")
        assert "stranger-0" not in names(shared)

    @virtual
    async def test_the_queue_of_a_tenant_that_was_called(self):
        shared = await started()
        assert shared.queue("acme") is not shared.queue("acme")
        assert shared.queue("acme") is not shared.tenant("acme").queue
        assert shared.queue("acme") is shared.tenant("acme").queue

    def test_it_needs_no_event_loop(self):
        assert new().queue("acme").pace.rate is None
        assert new(rate=2.0, scope="client").queue("acme").pace.rate == 2.0


class TestClosing:
    @virtual
    async def test_everybody_is_sent_away_at_every_queue(self):
        shared = await started(width=1)
        shared.bind()
        queue, sent = send(shared, "acme")
        other = shared.tenant("globex").queue
        tasks = [
            asyncio.create_task(shared.connections.acquire(whose, name, FOREVER))
            for whose, name in ((queue, "acme"), (other, "globex"))
        ]
        await settle()
        closing = asyncio.create_task(shared.close())
        assert await asyncio.gather(*tasks) == [None, None]
        queue.release(sent)
        await closing
        assert shared.connections.acquire_now(queue, now()) is None
