"""Rate limiters as their makers ship them: a record that they refuse is neither failed, nor lost, nor stored twice."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from clarus_async import PacingPolicy, Timeouts
from tests.peers.scenario import Part, Right, Scenario
from tests.peers.software import (
    ExpressRateLimit,
    Haproxy,
    Nginx,
    Peer,
    RackAttack,
    RateLimiterFlexible,
    Slowapi,
    Varnish,
)

# nginx answers 503 without a header where it is not told otherwise.
NGINX_429 = "limit_req_status 429; limit_conn_status 429;"


def limit_req(rate: str, burst: str, also: str = "") -> Nginx:
    return Nginx(
        http=f"limit_req_zone $binary_remote_addr zone=requests:1m rate={rate};",
        location=f"limit_req zone=requests {burst}; {also}",
    )


def limit_conn(most: int, also: str = "") -> Nginx:
    zone = "limit_conn_zone $binary_remote_addr zone=connections:1m;"
    return Nginx(http=zone, location=f"limit_conn connections {most}; {also}")


def http_req_rate(most: int, window: str, status: int) -> Haproxy:
    return Haproxy(
        frontend=f"""
                    stick-table type ip size 10k expire 1m store http_req_rate({window})
                    http-request track-sc0 src
                    http-request deny deny_status {status} if {{ sc_http_req_rate(0) gt {most} }}
    """
    )


def express(headers: str | None, limit: int = 100, seconds: int = 1, stray: int = 0) -> ExpressRateLimit:
    draft = headers if headers not in {None, "legacy"} else False
    options = {"windowMs": seconds * 1000, "limit": limit, "standardHeaders": draft}
    return ExpressRateLimit(options=options | {"legacyHeaders": headers == "legacy"}, stray=stray)


def flexible(block: int = 0) -> RateLimiterFlexible:
    return RateLimiterFlexible(options={"points": 100, "duration": 1, "blockDuration": block})


class Limited(NamedTuple):
    """A limiter, and a run against it."""

    peer: Peer  # the limiter
    quota: float  # requests a second that it admits in the long run
    records: int  # some 20 s of the quota, and at least two windows
    right: Right  # what the run should come to
    takes: float = 0.0  # seconds that the origin takes for a create
    more: Mapping[str, Any] = MappingProxyType({})  # further options of the scenario


# A 503 leaves a create in doubt for as long as ``settle``: with the client's own a run is as long as that. Where the
# goodput counts it is short.
SOON_SETTLED = {"timeouts": Timeouts(attempt=1.5, settle=1.5, deadline=45.0)}
TOLD = Right(goodput=0.95, refused=0.02)
BUCKET = Right(goodput=0.95, refused=0.02)
# What is refused last is looked up, sent again, and looked up again.
IN_DOUBT = Right(goodput=0.9, refused=0.02)
# Two clocks and a kernel are between two requests: some arrive too close to each other.
NO_BURST = Right(goodput=0.85)
UNDER_WAY = Right(goodput=0.9, refused=0.02)
# What it refuses counts.
COUNTER = Right(goodput=0.85, refused=0.04)
BLOCK = Right(goodput=0.5)
GIVEN = Right(goodput=0.97, refused=0.02)
# One second of 20 is lost; one request in 40 is a lookup.
STRAY = Right(goodput=0.91, refused=0.001)
EACH_PHASE = Right(goodput=0.85)
# No more than an eighth of what was answered before.
WALL = Right(goodput=0.9, wall=0.125)

LIMITERS: dict[str, Limited] = {
    # As nginx is where it is told no more; the run's end is a lookup after a minute.
    "nginx-limit-req-503": Limited(limit_req("100r/s", "burst=20 nodelay"), 100, 1000, Right(refused=0.02)),
    "nginx-limit-req-503-soon-settled": Limited(
        limit_req("100r/s", "burst=20 nodelay"), 100, 3000, IN_DOUBT, more=SOON_SETTLED
    ),
    "nginx-limit-req-429": Limited(limit_req("100r/s", "burst=20 nodelay", NGINX_429), 100, 1000, BUCKET),
    "nginx-limit-req-429-long": Limited(
        limit_req("100r/s", "burst=20 nodelay", NGINX_429), 100, 5000, Right(goodput=0.98, refused=0.02)
    ),
    "nginx-limit-req-429-deep": Limited(
        limit_req("100r/s", "burst=200 nodelay", NGINX_429), 100, 2000, Right(goodput=0.98, refused=0.02)
    ),
    "nginx-limit-req-429-no-burst": Limited(limit_req("100r/s", "", NGINX_429), 100, 2000, NO_BURST),
    "nginx-limit-req-429-no-burst-20": Limited(limit_req("20r/s", "", NGINX_429), 20, 600, NO_BURST),
    "nginx-limit-req-429-10": Limited(limit_req("10r/s", "burst=5 nodelay", NGINX_429), 10, 400, BUCKET),
    "nginx-limit-req-429-given": Limited(
        limit_req("100r/s", "burst=20 nodelay", NGINX_429), 100, 2000, GIVEN,
        more={"pacing": PacingPolicy(rate=100, burst=20)},
    ),
    "nginx-limit-req-429-no-burst-20-given": Limited(
        limit_req("20r/s", "", NGINX_429), 20, 400, GIVEN, more={"pacing": PacingPolicy(rate=20, burst=1)}
    ),
    "nginx-limit-conn-503": Limited(limit_conn(10), 50, 1000, UNDER_WAY, 0.2, SOON_SETTLED),
    "nginx-limit-conn-429": Limited(limit_conn(10, NGINX_429), 50, 1000, UNDER_WAY, 0.2),
    # A gateway's own limit of what is under way: HAProxy's queue, and Varnish's, which sends away for five seconds.
    "haproxy-queue-503": Limited(
        Haproxy(defaults="timeout queue 50ms", server="maxconn 10"), 50, 1000, UNDER_WAY, 0.2, SOON_SETTLED
    ),
    "varnish-max-connections-503": Limited(
        Varnish(backend=".max_connections = 10;"), 50, 1000, Right(), 0.2, SOON_SETTLED
    ),
    "haproxy-deny-503": Limited(http_req_rate(100, "1s", 503), 100, 2000, COUNTER, more=SOON_SETTLED),
    "haproxy-deny-429": Limited(http_req_rate(100, "1s", 429), 100, 2000, COUNTER),
    "haproxy-deny-503-10s": Limited(http_req_rate(200, "10s", 503), 20, 800, COUNTER, more=SOON_SETTLED),
    "haproxy-deny-429-10s": Limited(http_req_rate(200, "10s", 429), 20, 800, COUNTER),
    "express-legacy": Limited(express("legacy"), 100, 2000, TOLD),
    "express-legacy-10s": Limited(express("legacy", 300, 10), 30, 900, TOLD),
    "express-draft-6": Limited(express("draft-6"), 100, 2000, TOLD),
    "express-draft-7": Limited(express("draft-7"), 100, 2000, TOLD),
    "express-draft-8": Limited(express("draft-8"), 100, 2000, TOLD),
    **{
        f"express-{headers}-stray": Limited(express(headers, stray=1000), 100, 2000, STRAY)
        for headers in ("legacy", "draft-6", "draft-7", "draft-8")
    },
    # It admits ten times as many as the client is told to send.
    "express-stray-given": Limited(
        express(None, 1000, stray=1000), 100, 2000, STRAY, more={"pacing": PacingPolicy(rate=100)}
    ),
    "express-silent-600-10s": Limited(express(None, 600, 10), 60, 1800, WALL),
    "express-silent-300-10s": Limited(express(None, 300, 10), 30, 900, WALL),
    "express-silent-300-30s": Limited(express(None, 300, 30), 10, 750, WALL),
    "flexible": Limited(flexible(), 100, 2000, EACH_PHASE),
    "flexible-block": Limited(flexible(block=2), 100, 2000, BLOCK),
    "flexible-block-5s": Limited(flexible(block=5), 100, 2000, BLOCK),
    "slowapi": Limited(Slowapi(limit="100/second"), 100, 2000, TOLD),
    "slowapi-moving": Limited(Slowapi(limit="100/second", strategy="moving-window"), 100, 2000, TOLD),
    "slowapi-10s": Limited(Slowapi(limit="300/10 second"), 30, 900, TOLD),
    **{
        f"rack-attack-at-{int(100 * begins):02}": Limited(
            RackAttack(limit=50, period=1), 50, 1200, EACH_PHASE, more={"begins": begins}
        )
        for begins in (0.0, 0.25, 0.5, 0.75)
    },
}  # fmt: skip


def limited(name: str, suffix: str = "", **options: Any) -> Scenario:
    """Describe a run against one of :data:`LIMITERS`."""
    it = LIMITERS[name]
    given = {"records": it.records, "right": it.right, **it.more, **options}
    return Scenario(name=f"{name}{suffix}", peer=it.peer, quota=it.quota, late=(it.takes, it.takes), **given)


# A run that ends before it is steady has no right value.
SHORT: dict[str, Any] = {
    "timeouts": Timeouts(attempt=3.0, settle=3.0, deadline=45.0), "within": 60.0, "right": Right(),
}  # fmt: skip
IN_SECONDS = {
    "nginx-limit-req-503-20": limit_req("20r/s", "burst=5 nodelay"),
    "haproxy-deny-503-20": http_req_rate(20, "1s", 503),
}
IN_HALF_A_MINUTE = (
    "nginx-limit-req-503", "nginx-limit-req-429", "nginx-limit-conn-503", "varnish-max-connections-503",
    "haproxy-deny-503", "haproxy-deny-429",
)  # fmt: skip

SCENARIOS = (
    *(
        Scenario(name=name, peer=peer, quota=20, records=40, part=Part.TEST, **SHORT | SOON_SETTLED)
        for name, peer in IN_SECONDS.items()
    ),
    *(limited(name, "-short", records=200, part=Part.QUICK, **SHORT) for name in IN_HALF_A_MINUTE),
    limited("nginx-limit-req-503", "-create", call="create", records=200, part=Part.QUICK, **SHORT),
    *(limited(name, within=180.0) for name in LIMITERS),
)
