"""What the views of a client share: tenants are forgotten when they are idle, and only then."""

from __future__ import annotations

import asyncio
import builtins

import pytest

from clarus_async.auth.token import HeldToken
from clarus_async.calls import tenants as module
from clarus_async.calls.core import ClientCore
from clarus_async.config import PacingPolicy
from clarus_async.reconcile.lookup import ResourceState
from tests.support.virtual import now, settle, virtual

FOREVER = 1e6
ROOM = 8


@pytest.fixture
def room(monkeypatch):
    monkeypatch.setattr(module, "_MOST_TENANTS", ROOM)


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
    """A client's core part, at a time at which whoever sends nothing is idle."""
    await asyncio.sleep(1_000.0)
    core = new(width, **policy)
    core.bind()
    return core


def integrations(core):
    return core.tenants.get("acme").resources.setdefault("integrations", ResourceState())


def names(core):
    return list(core.tenants._states)


def send(core, name):
    queue = core.tenants.get(name).queue
    sent = core.connections.try_acquire(queue, now())
    assert sent is not None
    return queue, sent


def send_and_hear(core, name):
    queue, sent = send(core, name)
    queue.answered(sent, now())
    queue.release(sent)


def be_refused(core, name, retry_after):
    queue, sent = send(core, name)
    queue.refused(sent, now(), retry_after)
    queue.release(sent)


async def strangers(core, count):
    """Have so many tenants called that nobody knows yet, one a millisecond."""
    most = 0
    for number in range(count):
        await asyncio.sleep(0.001)
        core.tenants.get(f"stranger-{number}")
        most = max(most, len(core.tenants._states))
    return most


class TestForgetting:
    @virtual
    async def test_ten_thousand_names_take_bounded_room(self):
        core = await started()
        most = 0
        for number in range(10_000):
            core.tenants.get(f"tenant-{number}")
            most = max(most, len(core.tenants._states))
        assert most == module._MOST_TENANTS == 4096

    @virtual
    async def test_those_that_sent_are_forgotten_too(self, room):
        core = await started()
        for number in range(1_000):
            send_and_hear(core, f"tenant-{number}")
            await asyncio.sleep(0.1)
            assert len(core.tenants._states) <= ROOM

    @virtual
    async def test_nobody_is_forgotten_while_there_is_room(self, room, sorting):
        core = await started()
        assert await strangers(core, ROOM) == ROOM
        assert len(names(core)) == ROOM
        assert sorting == []

    @virtual
    async def test_a_tenant_that_is_known_makes_nobody_forgotten(self, room, sorting):
        core = await started()
        await strangers(core, ROOM)
        for _ in range(100):
            core.tenants.get("stranger-0")
        assert (len(names(core)), sorting) == (ROOM, [])

    @virtual
    async def test_what_was_called_longest_ago_goes_first(self, room):
        core = await started()
        await strangers(core, ROOM)
        # Called again, in another order.
        for number in (1, 0, 3):
            await asyncio.sleep(1.0)
            core.tenants.get(f"stranger-{number}")
        await asyncio.sleep(1.0)
        core.tenants.get("new")
        assert names(core) == ["stranger-0", "stranger-1", "stranger-3", "stranger-7", "new"]

    @virtual
    async def test_what_was_forgotten_is_a_stranger_afterwards(self, room):
        core = await started()
        before = core.tenants.get("acme")
        integrations(core).searchable = True
        await strangers(core, ROOM)
        after = core.tenants.get("acme")
        assert after is not before
        assert integrations(core).searchable is None
        assert after.queue is not before.queue


class TestNeverForgotten:
    @virtual
    async def test_one_with_a_request_under_way(self, room):
        core = await started()
        queue, sent = send(core, "acme")
        await strangers(core, 1_000)
        assert core.tenants.queue("acme") is queue
        queue.answered(sent, now())
        queue.release(sent)
        await asyncio.sleep(1.0)
        await strangers(core, 1_000)
        assert "acme" not in names(core)

    @virtual
    async def test_one_with_waiters(self, room):
        core = await started(width=1)
        other, sent = send(core, "other")
        queue = core.tenants.get("acme").queue
        waiter = asyncio.create_task(core.connections.acquire(queue, "acme", FOREVER))
        await settle()
        assert len(queue.pace._out) == 0
        await strangers(core, 1_000)
        assert core.tenants.queue("acme") is queue
        other.release(sent)
        queue.release(await waiter)

    @virtual
    async def test_one_that_may_not_send_yet(self, room):
        core = await started()
        be_refused(core, "acme", retry_after=3600.0)
        queue = core.tenants.queue("acme")
        await asyncio.sleep(3590.0)
        await strangers(core, 1_000)
        assert core.tenants.queue("acme") is queue
        await asyncio.sleep(20.0)
        await strangers(core, 1_000)
        assert "acme" not in names(core)

    @virtual
    async def test_one_whose_given_rate_allows_nothing_yet(self, room):
        core = await started(rate=0.01)
        send_and_hear(core, "acme")
        await asyncio.sleep(1.0)
        await strangers(core, 1_000)
        # A second after the first request; the rate has 100 seconds between them.
        assert core.connections.try_acquire(core.tenants.get("acme").queue, now()) is None

    @virtual
    @pytest.mark.parametrize("scope", ["tenant", "client"])
    async def test_one_with_a_create_that_is_under_way_between_two_requests(self, room, scope):
        core = await started(scope=scope)
        creates = integrations(core).creates
        creates.begin("name=shop", now(), "one")
        await asyncio.sleep(1.0)
        await strangers(core, 1_000)
        assert integrations(core).creates is creates
        creates.end("name=shop", now(), "one", 7)
        await asyncio.sleep(100.0)
        await strangers(core, 1_000)
        assert "acme" not in names(core)

    @virtual
    async def test_one_with_a_create_that_ended_in_doubt(self, room):
        core = await started()
        creates = integrations(core).creates
        creates.begin("name=shop", now(), "one")
        creates.end("name=shop", now(), "one", until=now() + 60.0)
        await asyncio.sleep(300.0)
        await strangers(core, 1_000)
        assert integrations(core).creates is creates
        await asyncio.sleep(1_000.0)
        await strangers(core, 1_000)
        assert "acme" not in names(core)

    @virtual
    async def test_one_whose_schema_is_asked_for(self, room):
        core = await started()
        tenant = core.tenants.get("acme")
        async with integrations(core).schema_lock:
            await asyncio.sleep(1.0)
            await strangers(core, 1_000)
            assert core.tenants.get("acme") is tenant

    @virtual
    @pytest.mark.parametrize("reconciles", [False, True])
    async def test_one_whose_retries_are_used_up(self, room, reconciles):
        core = await started()
        budget = core.tenants.get("acme").retry_budget(reconciles=reconciles)
        while budget.take(now()):
            pass
        await asyncio.sleep(30.0)
        await strangers(core, 1_000)
        assert core.tenants.get("acme").retry_budget(reconciles=reconciles) is budget
        await asyncio.sleep(31.0)
        await strangers(core, 1_000)
        assert "acme" not in names(core)

    @virtual
    async def test_one_whose_next_token_is_not_due(self, room):
        core = await started()
        refusals = core.tenants.get("acme").refusals
        for _ in range(8):
            refusals.refused(HeldToken("t", now(), 3600.0), now(), lambda: 1.0)
        assert refusals.wait(now()) > 2.0
        await strangers(core, 1_000)
        assert core.tenants.get("acme").refusals is refusals

    @virtual
    async def test_one_that_waits_where_all_have_one_pace(self, room):
        core = await started(width=1, scope="client")
        queue, sent = send(core, "other")
        tenant = core.tenants.get("acme")
        waiter = asyncio.create_task(core.connections.acquire(queue, "acme", FOREVER))
        await settle()
        await strangers(core, 1_000)
        assert core.tenants.get("acme") is tenant
        queue.release(sent)
        queue.release(await waiter)


class TestAllBusy:
    @virtual
    async def test_it_grows_and_does_not_sort_at_each_call(self, room, sorting):
        core = await started(width=2_000)
        inside = []
        for number in range(1_000):
            inside.append(send(core, f"busy-{number}"))
        assert len(names(core)) == 1_000
        # Each time there are twice as many: 8, 16, ... 512, and in all no more than two for each that is known.
        assert sorting == [ROOM * 2**n for n in range(7)]
        for queue, sent in inside:
            queue.release(sent)

    @virtual
    async def test_it_is_amortized_where_half_of_them_are_busy(self, room, sorting):
        core = await started(width=2_000)
        inside = []
        for number in range(1_000):
            await asyncio.sleep(0.001)
            inside.append(send(core, f"busy-{number}"))
            core.tenants.get(f"idle-{number}")
        assert sum(sorting) <= 4 * 2_000
        assert {f"busy-{number}" for number in range(1_000)} <= set(names(core))
        for queue, sent in inside:
            queue.release(sent)

    @virtual
    async def test_it_is_amortized_where_nobody_is(self, sorting):
        core = await started()
        for number in range(20_000):
            core.tenants.get(f"tenant-{number}")
        # Half goes each time, so that each is sorted twice.
        assert sum(sorting) <= 2 * 20_000

    @virtual
    async def test_one_busy_tenant_makes_no_room_for_others(self, room):
        core = await started()
        queue, sent = send(core, "busy")
        most = await strangers(core, 10_000)
        queue.release(sent)
        assert most <= 2 * ROOM

    @virtual
    async def test_a_crowd_of_the_past_takes_no_room_for_ever(self, room):
        core = await started(width=2_000)
        inside = [send(core, f"busy-{number}") for number in range(1_000)]
        for queue, sent in inside:
            queue.release(sent)
        await asyncio.sleep(3600.0)
        await strangers(core, 10_000)
        assert len(names(core)) <= 2 * ROOM


class TestOneQuotaForAll:
    @virtual
    async def test_all_tenants_share_one_queue(self):
        core = await started(scope="client")
        assert core.tenants.get("acme").queue is core.tenants.get("globex").queue
        assert core.tenants.queue("nobody") is core.tenants.queue("acme")
        assert core.tenants.get("acme").budget is not core.tenants.get("globex").budget

    @virtual
    async def test_each_tenant_has_its_own_otherwise(self):
        core = await started()
        assert core.tenants.get("acme").queue is not core.tenants.get("globex").queue
        assert core.tenants.get("acme") is core.tenants.get("acme")

    @virtual
    async def test_they_are_bounded_too(self, room):
        core = await started(scope="client")
        queue, sent = send(core, "acme")
        queue.refused(sent, now(), 3600.0)
        # Neither a pause nor what is under way is of one tenant, so neither keeps one.
        assert await strangers(core, 10_000) <= ROOM
        assert core.tenants.queue("acme") is queue
        queue.release(sent)

    @virtual
    async def test_closing_sends_all_away_that_wait(self, room):
        core = await started(scope="client")
        core.bind()
        be_refused(core, "acme", retry_after=3600.0)
        tasks = [
            asyncio.create_task(core.connections.acquire(core.tenants.get(name).queue, name, FOREVER))
            for name in ("acme", "globex", "acme")
        ]
        await settle()
        # Who waits may have been forgotten by now.
        await strangers(core, 100)
        await core.close()
        assert await asyncio.gather(*tasks) == [None, None, None]


class TestLooking:
    @virtual
    async def test_a_tenant_that_nobody_knows_is_not_made(self):
        core = await started()
        queue = core.tenants.queue("acme")
        assert names(core) == []
        assert (queue.waiting("acme"), queue.pace.rate, len(queue.pace._out)) == (0, None, 0)

    @virtual
    async def test_looking_is_not_calling(self, room):
        core = await started()
        await strangers(core, ROOM)
        core.tenants.queue("stranger-0")
        core.tenants.get("new")
        assert "stranger-0" not in names(core)

    def test_it_needs_no_event_loop(self):
        assert new().tenants.queue("acme").pace.rate is None
        assert new(rate=2.0, scope="client").tenants.queue("acme").pace.rate == 2.0
