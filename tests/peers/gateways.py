"""Gateways that give an origin up before it has answered, close connections, or start again in the middle of a run.

Behind each, a record must be stored once, and what is told of it must be what the origin has.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from clarus_async import PacingPolicy, Timeouts
from tests.peers.scenario import TENANT, Entrance, Part, Scenario
from tests.peers.software import Haproxy, Nginx, Peer, Squid, Varnish
from tests.support.process import Process

# The built-in VCL answers for an origin that takes too long: 503, "Retry-After: 5". Many set their own.
SOONER = 'sub vcl_backend_error { set beresp.http.Retry-After = "1"; return (deliver); }'
SENDS_AGAIN = """
    import std;
    sub vcl_recv { std.cache_req_body(64KB); }
    sub vcl_backend_error { if (bereq.retries == 0) { return (retry); } }
"""
# The port of tcpmux, where nobody listens.
DEAD, DEAD_NAMED = "server 127.0.0.1:1", "server dead 127.0.0.1:1"
NEXT_SERVER = "proxy_next_upstream error timeout non_idempotent;"


def late(name: str, peer: Peer, by: tuple[float, float], *, patience: float = 2.0, **options: Any) -> Scenario:
    """Describe an origin that applies a create late: from and to so many seconds after the gateway has given it up."""
    return Scenario(name=name, peer=peer, late=(patience + by[0], patience + by[1]), **options)


def soon(name: str, peer: Peer, by: tuple[float, float] = (0.1, 1.0), **options: Any) -> Scenario:
    """Describe the same for a test that takes a few seconds."""
    settle = by[1] + 1.0
    timeouts = Timeouts(attempt=settle, settle=settle, deadline=45.0)
    short = {"patience": 0.5, "records": 10, "timeouts": timeouts, "within": 60.0, "part": Part.TEST}
    return late(name, peer, by, **short | options)


def when_stored(
    *counts: int, do: Callable[[Process], Awaitable[None]]
) -> Callable[[Entrance], Coroutine[None, None, None]]:
    """Do something to the gateway each time that the origin has stored so many records."""

    async def meanwhile(entrance: Entrance) -> None:
        for count in counts:
            while len(entrance.origin.created(TENANT)) < count:
                await asyncio.sleep(0.005)
            await do(entrance.process)

    return meanwhile


async def reload(process: Process) -> None:
    process.signal(signal.SIGHUP)


# Connections that are lost may have carried a create: what was on them is looked up, after this many seconds.
LOSES_CONNECTIONS: dict[str, Any] = {
    "records": 200,
    "timeouts": Timeouts(attempt=2.0, settle=2.0, deadline=45.0),
    "within": 60.0,
    "part": Part.QUICK,
}
# One request in 105 ms, on a connection that the gateway closes after 100 ms: it is closed just as the request comes.
CLOSED_AS_ONE_COMES = LOSES_CONNECTIONS | {"records": 40, "width": 2, "pacing": PacingPolicy(rate=9.5, burst=1)}

SCENARIOS = (
    # In a few seconds: what each gateway answers in the origin's place.
    soon("varnish-503-provision", Varnish(first_byte_timeout=0.5, vcl=SOONER), (1.2, 2.0)),
    soon("varnish-503-create", Varnish(first_byte_timeout=0.5, vcl=SOONER), (1.2, 2.0), call="create"),
    soon("haproxy-504-provision", Haproxy(defaults="timeout server 500ms")),
    soon("haproxy-504-create", Haproxy(defaults="timeout server 500ms"), call="create"),
    soon("nginx-504-provision", Nginx(location="proxy_read_timeout 500ms;")),
    soon("nginx-504-create", Nginx(location="proxy_read_timeout 500ms;"), call="create"),
    soon("squid-504-provision", Squid(directives="read_timeout 1 second"), patience=1.0),
    soon(
        "squid-proxy-504-create", Squid(forward=True, directives="read_timeout 1 second"),
        patience=1.0, call="create",
    ),
    # With its built-in VCL Varnish sends the client away for five seconds, and the origin is later than that.
    soon(
        "varnish-503-default-vcl", Varnish(first_byte_timeout=0.5), (5.2, 7.0),
        within=90.0, part=Part.QUICK,
    ),
    # Connections that are closed where another request may just be coming.
    Scenario(name="nginx-keepalive-5", peer=Nginx(http="keepalive_requests 5;"), **LOSES_CONNECTIONS),
    Scenario(name="nginx-idle-100ms", peer=Nginx(http="keepalive_timeout 100ms;"), **CLOSED_AS_ONE_COMES),
    Scenario(
        name="haproxy-idle-100ms", peer=Haproxy(defaults="timeout http-keep-alive 100ms"), **CLOSED_AS_ONE_COMES
    ),
    Scenario(name="varnish-idle-100ms", peer=Varnish(parameters=("timeout_idle=0.1",)), **CLOSED_AS_ONE_COMES),
    # Started again in the middle of a run.
    *(
        Scenario(name=name, peer=peer, meanwhile=when_stored(50, 100, 150, do=do), **LOSES_CONNECTIONS)
        for name, peer, do in (
            ("nginx-reload", Nginx(), reload),
            ("nginx-restart", Nginx(), Process.restart),
            ("haproxy-restart", Haproxy(), Process.restart),
            ("varnish-restart", Varnish(), Process.restart),
        )
    ),
    # A POST goes to another server where the first can't be reached, and not where it has been sent to one.
    Scenario(name="nginx-dead-server", peer=Nginx(upstream=f"{DEAD} max_fails=0;"), **LOSES_CONNECTIONS),
    Scenario(
        name="haproxy-redispatch",
        peer=Haproxy(backend=f"option redispatch 1\nretries 1\nbalance roundrobin\n{DEAD_NAMED}"),
        **LOSES_CONNECTIONS,
    ),
    soon("nginx-504-two-servers", Nginx(servers=2, location="proxy_read_timeout 500ms;"), part=Part.QUICK),
    # Set to send a POST again by themselves: two records for one request, which have to be told of.
    soon(
        "nginx-sends-twice", Nginx(servers=2, location=f"proxy_read_timeout 500ms; {NEXT_SERVER}"),
        gateway_repeats=True, part=Part.QUICK,
    ),
    soon(
        "haproxy-sends-twice", Haproxy(defaults="timeout server 500ms\nretry-on response-timeout\nretries 1"),
        gateway_repeats=True, part=Part.QUICK,
    ),
    soon(
        "varnish-sends-twice", Varnish(first_byte_timeout=0.5, vcl=SENDS_AGAIN),
        gateway_repeats=True, part=Part.QUICK,
    ),
    # As late as settle allows, and many.
    *(
        late(
            f"{name}-{call}-{by[0]}-to-{by[1]}s-late{suffix}", peer, by, late_share=share,
            # A create that is sent twice needs more than two minutes until it is certain.
            call=call, records=500, timeouts=Timeouts(deadline=300.0),
        )
        for name, peer in {
            "varnish-503": Varnish(first_byte_timeout=2),
            "haproxy-504": Haproxy(defaults="timeout server 2s"),
            "nginx-504": Nginx(location="proxy_read_timeout 2s;"),
            "squid-504": Squid(directives="read_timeout 2 seconds"),
        }.items()
        for call in ("provision", "create")
        for by in ((3, 20), (1, 50))
        for share, suffix in ((1.0, ""), (0.3, "-some"))
        if name == "varnish-503" or (by == (1, 50) and share == 1.0)
    ),
)  # fmt: skip
