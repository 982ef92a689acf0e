"""Rate limiters as their makers ship them: a record that they refuse is neither failed, nor lost, nor stored twice."""

from __future__ import annotations

from typing import Any

from clarus_async import Timeouts
from tests.peers.scenario import Part, Scenario
from tests.peers.software import ExpressRateLimit, Haproxy, Nginx, Peer, RateLimiterFlexible, Slowapi, Varnish

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


def express(headers: str | bool, limit: int = 100, seconds: int = 1) -> ExpressRateLimit:
    draft = headers if isinstance(headers, str) and headers != "legacy" else False
    options = {"windowMs": seconds * 1000, "limit": limit, "standardHeaders": draft, "legacyHeaders": not draft}
    return ExpressRateLimit(options=options)


# Name: the limiter, requests a second, seconds that the origin takes for a create.
LIMITERS: dict[str, tuple[Peer, float, float]] = {
    "nginx-limit-req-503": (limit_req("100r/s", "burst=20 nodelay"), 100, 0),
    "nginx-limit-req-429": (limit_req("100r/s", "burst=20 nodelay", NGINX_429), 100, 0),
    "nginx-limit-conn-503": (limit_conn(10), 200, 0.05),
    "nginx-limit-conn-429": (limit_conn(10, NGINX_429), 200, 0.05),
    # A gateway's own limit of what is under way: HAProxy's queue, and Varnish's, which sends away for five seconds.
    "haproxy-queue-503": (Haproxy(defaults="timeout queue 50ms", server="maxconn 10"), 200, 0.05),
    "varnish-max-connections-503": (Varnish(backend=".max_connections = 10;"), 200, 0.05),
    "haproxy-deny-503": (http_req_rate(100, "1s", 503), 100, 0),
    "haproxy-deny-429": (http_req_rate(100, "1s", 429), 100, 0),
    "haproxy-deny-503-10s": (http_req_rate(200, "10s", 503), 20, 0),
    "express-legacy": (express("legacy"), 100, 0),
    "express-draft-6": (express("draft-6"), 100, 0),
    "express-draft-7": (express("draft-7"), 100, 0),
    "express-draft-8": (express("draft-8"), 100, 0),
    "express-legacy-10s": (express("legacy", 300, 10), 30, 0),
    "flexible": (RateLimiterFlexible(options={"points": 100, "duration": 1}), 100, 0),
    "flexible-block": (RateLimiterFlexible(options={"points": 100, "duration": 1, "blockDuration": 2}), 100, 0),
    "slowapi": (Slowapi(limit="100/second"), 100, 0),
    "slowapi-moving": (Slowapi(limit="100/second", strategy="moving-window"), 100, 0),
    "slowapi-10s": (Slowapi(limit="300/10 second"), 30, 0),
}  # fmt: skip


def limited(name: str, suffix: str = "", **options: Any) -> Scenario:
    """Describe a run against one of :data:`LIMITERS`."""
    peer, quota, takes = LIMITERS[name]
    return Scenario(name=f"{name}{suffix}", peer=peer, quota=quota, late=(takes, takes), **options)


# What a 503 leaves in doubt is looked up after this many seconds.
SHORT: dict[str, Any] = {"timeouts": Timeouts(attempt=3.0, settle=3.0, deadline=45.0), "within": 60.0}
IN_SECONDS = {
    "nginx-limit-req-503-50": limit_req("50r/s", "burst=5 nodelay"),
    "haproxy-deny-503-50": http_req_rate(50, "1s", 503),
}
IN_HALF_A_MINUTE = (
    "nginx-limit-req-503", "nginx-limit-req-429", "nginx-limit-conn-503", "varnish-max-connections-503",
    "haproxy-deny-503", "haproxy-deny-429",
)  # fmt: skip

SCENARIOS = (
    *(
        Scenario(name=name, peer=peer, quota=50, records=100, part=Part.TEST, **SHORT)
        for name, peer in IN_SECONDS.items()
    ),
    *(limited(name, "-short", records=300, part=Part.QUICK, **SHORT) for name in IN_HALF_A_MINUTE),
    limited("nginx-limit-req-503", "-create", call="create", records=300, part=Part.QUICK, **SHORT),
    *(limited(name, records=1000) for name in LIMITERS),
)
