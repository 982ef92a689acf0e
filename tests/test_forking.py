"""A client that was made before a fork, as servers with workers do that load an application first."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.redis_server import RedisServer, executable
from tests.support.stub_server import StubServer, in_a_thread, reply

MADE_BEFORE = """
import asyncio, os, sys
from clarus_async import AccessToken, ClarusClient, NewIntegration

client = ClarusClient("acme", AccessToken("t"))
new = NewIntegration(name="Shop", integration_type="shopify")

async def key():
    return client.integrations._reconciler.prepare(new).pending.idempotency_key

if sys.argv[1] == "used":
    print(asyncio.run(key()), flush=True)
for _ in range(3):
    if os.fork() == 0:
        print(asyncio.run(key()), flush=True)
        os._exit(0)
    os.wait()
"""

LOOP_KEPT = """
import asyncio, gc, multiprocessing, os, sys, time, warnings
import aiohttp
from clarus_async import AccessToken, ClarusClient, ClientCredentials, ConfigurationError, Timeouts

url, redis, *children = sys.argv[1:]
warnings.simplefilter("ignore", DeprecationWarning)
loop = asyncio.new_event_loop()
options = {"base_url": url, "timeouts": Timeouts(attempt=10.0, deadline=10.0)}
if redis:
    from clarus_async.fleet.redis import RedisPacing
    options["pacing"] = RedisPacing(url=redis, timeout=5.0)
client = ClarusClient("acme", ClientCredentials("id", "secret"), **options)

async def session():
    return aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())

theirs = loop.run_until_complete(session())
other = ClarusClient("acme", AccessToken("t"), session=theirs, **options)

async def pings():
    await asyncio.gather(*(client.ping() for _ in range(3)), *(other.ping() for _ in range(3)))

def use():
    asyncio.run(client.ping())
    print("used")

def close():
    asyncio.run(client.close())
    print("closed")

async def through():
    async with client:
        await client.ping()
    print("entered and left")

def refused(use):
    try:
        use()
    except ConfigurationError as error:
        print(error)

def drop():
    for name in ("client", "loop", "theirs", "other"):
        del globals()[name]
    gc.collect()
    print("dropped")

def again():
    if os.fork() == 0:
        use()
        leave()
    os.wait()
    use()

def leave():
    sys.stdout.flush()
    os._exit(0)

DO = {
    "uses": use,
    "closes": close,
    "enters": lambda: asyncio.run(through()),
    "inherited loop": lambda: refused(lambda: loop.run_until_complete(client.ping())),
    "session": lambda: refused(lambda: asyncio.run(other.ping())),
    "exits": lambda: (print("exits", flush=True), sys.exit()),
    "uses and exits": lambda: (use(), sys.exit()),
    "drops": drop,
    "forks again": again,
}

async def fork_inside():
    process = os.fork()
    if process == 0:
        use()
        leave()
    while os.waitpid(process, os.WNOHANG) == (0, 0):
        await asyncio.sleep(0.01)

loop.run_until_complete(pings())
for child in children:
    if child == "multiprocessing":
        process = multiprocessing.get_context("fork").Process(target=use)
        process.start()
        process.join()
    elif child == "running loop":
        loop.run_until_complete(fork_inside())
    elif os.fork() == 0:
        DO[child]()
        leave()
    else:
        os.wait()
    began = time.monotonic()
    loop.run_until_complete(pings())
    # What another thread has done must wake the loop up.
    loop.run_until_complete(asyncio.wait_for(asyncio.to_thread(time.sleep, 0.05), 4.0))
    took = time.monotonic() - began
    print("the parent goes on" if took < 3.0 else f"the parent stalled for {took:.1f} s", flush=True)

for each in (client, other, theirs):
    loop.run_until_complete(each.close())
loop.close()
"""

INHERITED_LOOP = (
    "this event loop is the parent process's, from before the fork; "
    "use the client in a loop of this process's own, such as asyncio.run makes"
)
INHERITED_SESSION = (
    "the aiohttp session that was passed in was made before the fork, and its connections are the parent process's;"
    " make a session and a client in this process"
)
SAID = {
    "uses": ["used"],
    "closes": ["closed"],
    "enters": ["entered and left"],
    "inherited loop": [INHERITED_LOOP],
    "session": [INHERITED_SESSION],
    "exits": ["exits"],
    "uses and exits": ["used"],
    "drops": ["dropped"],
    "forks again": ["used", "used"],
    "multiprocessing": ["used"],
    "running loop": ["used"],
}


def run(program, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=50, check=False
    )
    assert not done.stderr, done.stderr
    assert done.returncode == 0
    return done.stdout.splitlines()


@pytest.mark.parametrize("before", ["made", "used"])
def test_no_two_processes_give_the_same_idempotency_key(before):
    keys = run(MADE_BEFORE, before)
    assert len(keys) == len(set(keys)) == (4 if before == "used" else 3)


@pytest.fixture(scope="module")
def url():
    with in_a_thread(StubServer(lambda asked: reply({"data": {}}))) as server:
        yield server.url


def said(url, redis, children):
    """What each child said, and how its parent went on, by what the child did."""
    lines = iter(run(LOOP_KEPT, url, redis, *children))
    return {child: [next(lines) for _ in (*SAID[child], "")] for child in children}


@pytest.fixture(scope="module")
def said_without_redis(url):
    return said(url, "", SAID)


@pytest.mark.parametrize("child", SAID)
def test_the_parent_s_next_call_does_not_stall(said_without_redis, child):
    assert said_without_redis[child] == [*SAID[child], "the parent goes on"]


@pytest.mark.skipif(executable() is None, reason="no redis-server")
def test_nor_where_the_pace_is_shared_through_redis(url):
    children = "closes", "uses and exits"
    with RedisServer() as redis:
        told = said(url, redis.url, children)
    assert told == {child: [*SAID[child], "the parent goes on"] for child in children}
