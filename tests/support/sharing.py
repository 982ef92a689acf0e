"""Processes that share a pace, in one loop: what Redis does for them is done in memory, with delays."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter, defaultdict, deque

from clarus_async.fleet.redis import RedisPacing, RedisSharing
from clarus_async.http.connect_errors import ConnectionProblem
from clarus_async.ratelimit.queue import ConnectionLimiter, RequestQueue
from clarus_async.ratelimit.shared_pace import Exchanged
from tests.support.virtual import now

# The shared clock is another than the loop's.
AHEAD = 1.7e9
CUT_OFF = ConnectionProblem("the connection was lost")


class Store:
    """What Redis keeps, and its clock; a message takes ``delay`` seconds each way, and up to ``jitter`` more."""

    def __init__(self, delay=0.0005, jitter=0.001):
        self.delay, self.jitter = delay, jitter
        self.leases, self.learned = {}, {}
        self.inboxes = defaultdict(deque)
        self.arrived = defaultdict(asyncio.Event)
        self.exchanges = Counter()
        self.messages = 0
        self.saved = []

    async def travel(self):
        await asyncio.sleep(self.delay + self.jitter * random.random())

    def exchange(self, me, name, asked):
        self.exchanges[me] += 1
        time = now()
        lease, until = self.leases.get(name, ("", 0.0))
        if time >= until:
            lease = ""
        learned = ""
        leads = lease != "" and lease == asked.lease
        if not leads and asked.seconds and (not lease or lease.startswith(me)):
            lease, learned = f"{me}{round(1e6 * (time + AHEAD))}", self.learned.get(name, "")
            self.leases[name] = lease, time + asked.seconds
        if leads:
            if asked.learned:
                self.learned[name] = asked.learned
                self.saved.append(time)
            self.leases[name] = lease, time + asked.seconds
        owner = lease[: len(me)]
        for to, message in asked.messages:
            receiver = owner if not to and owner != me else to if leads else ""
            if receiver:
                self.messages += 1
                self.inboxes[receiver].append(message)
                self.arrived[receiver].set()
        return Exchanged(lease if asked.seconds else "", time + AHEAD, learned)


class Sharing(RedisSharing):
    """A process's sharing by a store."""

    def __init__(self, store, **policy):
        super().__init__(RedisPacing(**policy), "https://clarus.test")
        self.store = store
        self.cut_off = False

    async def _exchange(self, name, exchange):
        await self.store.travel()
        if self.cut_off:
            return CUT_OFF
        answer = self.store.exchange(self._me, name, exchange)
        await self.store.travel()
        return CUT_OFF if self.cut_off else answer

    async def _messages(self):
        await self.store.travel()
        arrived, inbox = self.store.arrived[self._me], self.store.inboxes[self._me]
        arrived.clear()
        if not inbox:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await arrived.wait()
        messages = list(inbox)
        inbox.clear()
        await self.store.travel()
        if self.cut_off:
            raise ConnectionResetError
        return messages


class Server:
    """Answers after a round trip, as a limiter on a Unix clock has it, ``rtt`` seconds long, give or take."""

    def __init__(self, limiter, rtt=0.02, retry_after=None, told=None):
        self.limiter, self.rtt, self.retry_after, self.told = limiter, rtt, retry_after, told
        self.seen = []  # (time, process, whether it was admitted)

    async def answer(self, process):
        await asyncio.sleep(self.rtt * random.uniform(0.45, 0.55))
        verdict = self.limiter.take(now() + AHEAD)
        self.seen.append((now(), process, verdict.admitted))
        await asyncio.sleep(self.rtt * random.uniform(0.45, 0.55))
        return verdict

    def admitted(self, since=0.0, until=1e9, process=None):
        return sum(ok for at, who, ok in self.seen if since <= at < until and process in (None, who))

    def refused(self, since=0.0):
        return sum(not ok for at, _, ok in self.seen if at >= since)


class Process:
    """One of those that share: so many workers, each of which sends one request after the other."""

    def __init__(self, store, server, name, width=64, **policy):
        self.server, self.name = server, name
        self.sharing = Sharing(store, **policy)
        self.pace = self.sharing.pacer("acme")
        self.connections = ConnectionLimiter(width)
        self.queue = RequestQueue(self.connections, self.pace)
        self.pace.attach(self.queue.pace_changed, lambda: self.queue.ready)
        self.workers = []

    @property
    def leads(self):
        return self.pace._leader is not None

    def work(self, workers=8, until=1e9):
        self.workers += [asyncio.create_task(self._work(until)) for _ in range(workers)]

    async def request(self):
        while True:
            sent = self.connections.try_acquire(self.queue, now())
            if sent is None:
                sent = await self.connections.acquire(self.queue, "acme", None)
            if sent is None:
                await asyncio.sleep(0.05)
                continue
            verdict = await self.server.answer(self.name)
            if verdict.admitted:
                self.queue.answered(sent, now())
            else:
                self.queue.refused(sent, now(), self.server.retry_after)
            self.queue.release(sent)
            if verdict.admitted:
                return

    async def _work(self, until):
        while now() < until:
            await self.request()

    async def die(self):
        """End without a word, as if it was killed."""
        tasks = [*self.workers, *self.sharing._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self):
        for task in self.workers:
            task.cancel()
        await asyncio.gather(*self.workers, return_exceptions=True)
        await self.sharing.close()


def leader_of(processes):
    [leader] = [process for process in processes if process.leads]
    return leader
