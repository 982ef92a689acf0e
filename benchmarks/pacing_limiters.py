"""Rate limiters on loopback: nginx and HAProxy as their makers ship them, and a fixed window of the simulator."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

from clarus_async.simulator import Quota, Simulator
from tests.peers.limiters import NGINX_429, http_req_rate, limit_conn, limit_req
from tests.peers.scenario import TENANT, before_origin
from tests.peers.software import Haproxy, Nginx
from tests.support.second_integrations import Record


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limiter:
    """What limits the requests, and what stands behind it."""

    title: str  # what a table and a plot call it
    rate: float  # requests a second that it admits in the long run
    front: Nginx | Haproxy | Quota  # a server in front of the origin, or a quota that the simulator keeps itself
    takes: float = 0.0  # seconds that the origin takes for a create
    slow: float | None = None  # seconds that it takes instead for one create in fifty

    def create_takes(self) -> float:
        """Draw the seconds for one create."""
        return self.takes if self.slow is None or random.random() >= 0.02 else self.slow

    def turns(self, began_at: float, ended_at: float) -> Iterator[float]:
        """Give the seconds from the one moment to each at which a window turns, where it has windows by the clock."""
        if isinstance(self.front, Quota) and self.front.kind == "fixed":
            at = math.ceil(began_at / self.front.window) * self.front.window
            while at < ended_at:
                yield at - began_at
                at += self.front.window


@dataclasses.dataclass(frozen=True)
class Server:
    """A limiter that runs."""

    url: str
    client_id: str  # of the credentials that the origin knows
    client_secret: str
    statuses: Callable[[], Counter[int]]  # how often it has answered with each status, by its own account
    # Waits until the origin has applied what came, and returns what it has
    stored: Callable[[], Awaitable[list[Record]]]


LIMITERS = {
    "nginx": Limiter(
        title="nginx: limit_req rate=100r/s burst=20 nodelay; refuses with 429",
        rate=100,
        front=limit_req("100r/s", "burst=20 nodelay", NGINX_429),
    ),
    "nginx-503": Limiter(
        title="nginx: limit_req rate=100r/s burst=20 nodelay; refuses with 503, its default",
        rate=100,
        front=limit_req("100r/s", "burst=20 nodelay"),
    ),
    "nginx-conn": Limiter(
        title="nginx: limit_conn 10, and creates that take 50 ms; refuses with 429",
        rate=200,
        front=limit_conn(10, NGINX_429),
        takes=0.05,
    ),
    "haproxy": Limiter(
        title="HAProxy: http_req_rate(1s) gt 100; refuses with 429", rate=100, front=http_req_rate(100, "1s", 429)
    ),
    "haproxy-10s": Limiter(
        title="HAProxy: http_req_rate(10s) gt 300; refuses with 429", rate=30, front=http_req_rate(300, "10s", 429)
    ),
    "gateway": Limiter(
        title="HAProxy: http_req_rate(1s) gt 100; timeout server 500ms where one create in fifty takes 2 s",
        rate=100,
        front=dataclasses.replace(http_req_rate(100, "1s", 429), defaults="timeout server 500ms"),
        slow=2.0,
    ),
    "window": Limiter(
        title="300 requests in each window of 10 s; refuses with 429",
        rate=30,
        front=Quota(limit=300, window=10.0, kind="fixed"),
    ),
}


@contextlib.asynccontextmanager
async def serving(limiter: Limiter) -> AsyncIterator[Server]:
    """Start a limiter and what is behind it, and end both."""
    if isinstance(limiter.front, Quota):
        async with Simulator(tenants=[TENANT], quota=limiter.front) as simulator:
            yield _simulated(simulator)
        return
    async with before_origin(_with_a_log(limiter.front)) as entrance:
        origin = entrance.origin
        origin.create_takes = limiter.create_takes

        async def stored() -> list[Record]:
            await entrance.settled()
            return origin.created(TENANT)

        def statuses() -> Counter[int]:
            return Counter(int(line) for line in re.findall(r"^\d{3}$", entrance.process.log, re.MULTILINE))

        yield Server(entrance.base_url, origin.client_id, origin.client_secret, statuses, stored)


def _with_a_log(front: Nginx | Haproxy) -> Nginx | Haproxy:
    # Each writes the status of every answer into a line of its output.
    if isinstance(front, Nginx):
        http, location = "log_format status '$status';", "access_log /dev/stdout status;"
        return dataclasses.replace(front, http=f"{front.http} {http}", location=f"{front.location} {location}")
    lines = [front.defaults, "log stdout format raw local0", "log-format %ST"]
    return dataclasses.replace(front, defaults="\n".join(lines))


def _simulated(simulator: Simulator) -> Server:
    async def stored() -> list[Record]:
        return [Record(made.id, TENANT, made.attributes, made.created_at) for made in simulator.created(TENANT)]

    def statuses() -> Counter[int]:
        return Counter(entry.status for entry in simulator.requests if entry.status is not None)

    return Server(simulator.url, simulator.client_id, simulator.client_secret, statuses, stored)
