"""What Redis says when it can't be used, told apart; and to whom its password is given. With real servers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import subprocess
import sys
import time
from urllib.parse import quote

import pytest
import trustme

from clarus_async import ClarusClient, ConfigurationError, ConnectionFailedError, NewIntegration
from clarus_async.cli.commands import main
from clarus_async.fleet import celery
from clarus_async.fleet.celery import make_app, queue_length, send
from clarus_async.fleet.redis import RedisPacing
from clarus_async.fleet.shard_store import ShardStore, connect, probe
from clarus_async.fleet.shards import Shard
from clarus_async.provisioning.files.options import Format
from clarus_async.simulator import Simulator
from tests.ratelimit.test_shared_pace_redis import creates, keep_busy
from tests.support import stub_server
from tests.support.process import free_port
from tests.support.redis_server import RedisServer
from tests.support.tls import authority_fixture, server_context  # noqa: F401  one is a fixture

CANARY = "canary-redis-password"
SHOP = NewIntegration(name="Shop", integration_type="shopify")


@pytest.fixture(scope="module")
def ca_file(authority, tmp_path_factory):
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    path.write_bytes(authority.cert_pem.bytes())
    return path


@pytest.fixture(scope="module")
def guarded():
    """A Redis with a password, and users who may do less."""
    with RedisServer(settings={"requirepass": CANARY}) as server:

        async def prepare():
            async with connect(server.url_with(f":{CANARY}")) as redis:
                for user in (
                    ["keys", "~other:*", "+@all"],
                    ["scripts", "~*", "+@all", "-eval", "-evalsha"],
                    ["load", "~*", "+@all", "-script"],
                    ["strings", "~*", "+@all", "-set"],
                    ["lists", "~*", "+@all", "-blpop"],
                    ["queue", "~clarus:*", "~{clarus*", "+@all"],
                ):
                    await redis.execute_command("ACL", "SETUSER", user[0], "on", f">{CANARY}", *user[1:])

        asyncio.run(prepare())
        yield server


def as_a_user(server, name):
    return server.url_with(f"{name}:{CANARY}")


# --- to whom the password is given


@contextlib.asynccontextmanager
async def listening(answer, context=None):
    """Whatever connects to this port and asks is answered that; what was asked, and the port."""
    asked = bytearray()

    async def serve(reader, writer):
        while chunk := await reader.read(2**16):
            asked.extend(chunk)
            said = answer()
            writer.write(said)
            if not said or said.startswith(b"HTTP"):
                break
        writer.close()

    async with stub_server.listening(serve, context) as port:
        yield asked, port


def client_of(sim, url, **options):
    return ClarusClient("acme", sim.credentials, base_url=sim.url, pacing=RedisPacing(url=url, **options))


async def by_the_store(url):
    async with connect(url) as redis:
        await probe(redis)


async def by_the_pace(url):
    async with Simulator() as sim:
        async with client_of(sim, url, timeout=5.0) as clarus:
            await clarus.ping()


async def by_celery(url):
    app = make_app(url)
    await asyncio.to_thread(queue_length, app)


WAYS = pytest.mark.parametrize("way", [by_the_store, by_the_pace, by_celery])


@WAYS
@pytest.mark.parametrize("wrong", ["unknown CA", "another host"])
async def test_a_server_that_nobody_vouches_for_is_given_nothing(authority, ca_file, way, wrong, caplog):
    context = server_context(trustme.CA()) if wrong == "unknown CA" else server_context(authority, "other.example")
    async with listening(lambda: b"+OK\r\n", context) as (given, port):
        with pytest.raises(ConfigurationError, match="the server's certificate is not valid: ") as caught:
            await way(f"rediss://user:{CANARY}@127.0.0.1:{port}?ssl_ca_certs={quote(str(ca_file))}")
    assert given == b""
    assert CANARY not in str(caught.value) + caplog.text
    assert (wrong if wrong == "unknown CA" else "another") in str(caught.value)


@WAYS
@pytest.mark.parametrize("query", ["ssl_cert_reqs=none", "ssl_cert_reqs=CERT_NONE"])
async def test_it_is_given_to_whoever_is_there_where_that_is_what_is_said(way, query):
    async with listening(lambda: b"+OK\r\n", server_context(trustme.CA())) as (given, port):
        # What answers there is not really Redis.
        asking = asyncio.create_task(way(f"rediss://user:{CANARY}@127.0.0.1:{port}?{query}"))
        async with asyncio.timeout(10.0):
            while CANARY.encode() not in given:  # noqa: ASYNC110  it has no event
                await asyncio.sleep(0.01)
    await asyncio.wait({asking}, timeout=15.0)
    assert asking.done()
    asking.exception()


@WAYS
async def test_the_name_may_be_another_where_that_is_what_is_said(authority, ca_file, way):
    query = f"ssl_ca_certs={quote(str(ca_file))}&ssl_check_hostname=false"
    with RedisServer(certificate=authority.issue_cert("other.example"), settings={"requirepass": CANARY}) as server:
        await way(server.url_with(f":{CANARY}", query))


@WAYS
async def test_a_redis_with_tls_that_somebody_vouches_for(authority, ca_file, way):
    with RedisServer(certificate=authority.issue_cert("127.0.0.1"), settings={"requirepass": CANARY}) as server:
        await way(server.url_with(f":{CANARY}", f"ssl_ca_certs={quote(str(ca_file))}"))


# --- what Redis says


@contextlib.asynccontextmanager
async def answering(answer):
    """What takes a connection and answers one thing to all."""

    async with listening(lambda: answer) as (_, port):
        yield f"redis://:{CANARY}@127.0.0.1:{port}/0"


FOR_GOOD = {
    "WRONGPASS": (b"-WRONGPASS invalid username-password pair or user is disabled.\r\n", "it refuses the user name or"),
    "NOPERM": (b"-NOPERM this user has no permissions to run the 'eval' command\r\n", "its ACL forbids"),
    "MOVED": (b"-MOVED 866 127.0.0.1:7001\r\n", "it is a node of a cluster"),
    "ASK": (b"-ASK 866 127.0.0.1:7001\r\n", "it is a node of a cluster"),
    "CROSSSLOT": (b"-CROSSSLOT Keys in request don't hash to the same slot\r\n", "it is a node of a cluster"),
    "a web server": (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "what answers there is not Redis"),
    "no scripts": (b"-ERR unknown command 'EVAL', with args beginning with:\r\n", "it does not have a command"),
    "WRONGTYPE": (b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n", "holds something else"),
}
FOR_A_WHILE = {
    "LOADING": (b"-LOADING Redis is loading the dataset in memory\r\n", "it is loading its data"),
    "OOM": (b"-OOM command not allowed when used memory > 'maxmemory'.\r\n", "its memory is full"),
    "MISCONF": (b"-MISCONF Redis is configured to save RDB snapshots, but it can't\r\n", "it can't save its data"),
    "READONLY": (b"-READONLY You can't write against a read only replica.\r\n", "it is a replica"),
    "clients": (b"-ERR max number of clients reached\r\n", "it has as many clients as it takes"),
    "CLUSTERDOWN": (b"-CLUSTERDOWN Hash slot not served\r\n", "it can't work at the moment"),
    "closes": (b"", "the connection was lost"),
    "another error": (b"-WHATEVER canary-redis-password\r\n", "it answered with an error (WHATEVER)"),
}


@pytest.mark.parametrize(
    ("answer", "words", "kind"),
    [(*row, ConfigurationError) for row in FOR_GOOD.values()]
    + [(*row, ConnectionFailedError) for row in FOR_A_WHILE.values()],
    ids=[*FOR_GOOD, *FOR_A_WHILE],
)
async def test_what_no_waiting_heals_is_told_from_what_may_pass(answer, words, kind):
    async with answering(answer) as url:
        with pytest.raises(kind, match=re.escape(words)) as caught:
            await by_the_store(url)
    assert f"Redis at {url.partition('@')[2][:-2]}: " in str(caught.value)
    assert CANARY not in str(caught.value)
    assert caught.value.__context__ is None
    assert caught.value.retryable is (kind is ConnectionFailedError)


REAL = {
    "no password": (lambda server: server.url, "it wants a password"),
    "a wrong password": (lambda server: server.url_with(":wrong"), "it refuses the user name or the password"),
    "a wrong user": (lambda server: server.url_with(f"nobody:{CANARY}"), "it refuses the user name or the password"),
    "another's keys": (lambda server: as_a_user(server, "keys"), "its ACL forbids a command or a key"),
    "no scripts": (lambda server: as_a_user(server, "scripts"), "its ACL forbids a command or a key"),
    "a database too many": (lambda server: server.url_with(f":{CANARY}").replace("/0", "/99"), "it has no database"),
}


@WAYS
@pytest.mark.parametrize(("url_of", "words"), REAL.values(), ids=REAL)
async def test_what_a_real_redis_refuses(guarded, way, url_of, words, caplog):
    if way is by_celery and "scripts" in url_of(guarded):
        return  # Celery itself runs none
    with pytest.raises(ConfigurationError, match=words) as caught:
        await way(url_of(guarded))
    assert CANARY not in str(caught.value) + caplog.text
    assert f"Redis at 127.0.0.1:{guarded.port}: " in str(caught.value)


@pytest.mark.parametrize("user", ["load", "strings"])
async def test_what_a_script_may_not_do_is_told_as_well(guarded, user):
    with pytest.raises(ConfigurationError, match="its ACL forbids a command or a key"):
        await by_the_pace(as_a_user(guarded, user))


async def test_who_may_not_listen_shares_nothing(guarded):
    async with Simulator() as sim, client_of(sim, as_a_user(guarded, "lists")) as clarus:
        with pytest.raises(ConfigurationError, match="its ACL forbids a command or a key"):
            async with asyncio.timeout(10.0):
                while True:
                    await clarus.ping()


async def test_a_replica_takes_no_writes():
    with RedisServer() as server, RedisServer(settings={"replicaof": f"127.0.0.1 {server.port}"}) as replica:
        async with connect(replica.url) as redis:
            with pytest.raises(ConnectionFailedError, match="it is a replica, which takes no writes"):
                await ShardStore(redis, "run.1").register(1)


@WAYS
async def test_nobody_is_there(way):
    url = f"redis://:{CANARY}@127.0.0.1:{free_port()}/0"
    if way is by_the_pace:
        await way(url)  # goes on by itself
        return
    with pytest.raises(ConnectionFailedError, match=rf"Redis at {url[-17:-2]}: Connection refused"):
        await way(url)


async def test_what_can_not_be_put_into_the_queue_is_told(guarded):
    app = make_app(as_a_user(guarded, "queue"))
    shard = Shard(
        run="r.1", number=0, tenant="acme", base_url="https://x.test", resource="integrations", path="/f",
        format=Format.JSON_LINES, size=1, header=0, ranges=(), keys="", references=False,
    )  # fmt: skip
    for ask in (lambda: queue_length(app), lambda: send(app, [shard])):
        with pytest.raises(ConfigurationError, match="its ACL forbids a command or a key") as caught:
            await asyncio.to_thread(ask)
        assert caught.value.__context__ is None


# --- a pace that can't be shared


async def test_where_redis_refuses_nothing_is_sent_until_it_no_longer_does(guarded, caplog):
    async with Simulator() as sim, client_of(sim, as_a_user(guarded, "late"), prefix="late") as clarus:
        for _ in range(2):
            with pytest.raises(ConfigurationError, match="it refuses the user name or the password") as caught:
                await clarus.integrations.create(SHOP)
        together = await asyncio.gather(*(clarus.integrations.create(SHOP) for _ in range(5)), return_exceptions=True)
        assert {type(error) for error in together} == {ConfigurationError}
        assert not creates(sim)
        assert (caught.value.path, caught.value.attempts) == ("/api/integrations", 0)
        async with connect(guarded.url_with(f":{CANARY}")) as redis:
            await redis.execute_command("ACL", "SETUSER", "late", "on", f">{CANARY}", "~*", "+@all")
        until = time.monotonic() + 20.0
        while True:
            try:
                await clarus.integrations.create(SHOP)
                break
            except ConfigurationError:
                assert time.monotonic() < until
                await asyncio.sleep(0.1)
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert said == [f"Redis at 127.0.0.1:{guarded.port} can't be used: it refuses the user name or the password"]


async def test_what_changes_is_said_once_each(caplog):
    said = [b"-LOADING Redis is loading the dataset in memory\r\n"]

    async with listening(lambda: said[0]) as (_, port):
        async with Simulator() as sim, client_of(sim, f"redis://127.0.0.1:{port}") as clarus:

            async def until(words):
                async with asyncio.timeout(20.0):
                    while words not in caplog.text:  # noqa: ASYNC110  the log has no event
                        await asyncio.sleep(0.02)

            await keep_busy(clarus, 1.0, 2)
            await until("it is loading its data")
            said[0] = b"-READONLY You can't write against a read only replica.\r\n"
            await until("it is a replica, which takes no writes")
            said[0] = b"-NOAUTH Authentication required.\r\n"
            await until("it wants a password")
            with pytest.raises(ConfigurationError, match="it wants a password"):
                await clarus.ping()
    told = [(r.levelname, r.getMessage().rpartition("used: ")[2]) for r in caplog.records if "used: " in r.getMessage()]
    alone = ": each process keeps to its part of the last rate by itself"
    assert told == [
        ("WARNING", f"it is loading its data{alone}"),
        ("WARNING", f"it is a replica, which takes no writes{alone}"),
        ("ERROR", "it wants a password"),
    ]


async def test_a_client_that_waits_for_its_turn_is_told_too(guarded):
    async with Simulator(tenants=("acme", "globex")) as sim, client_of(sim, guarded.url) as acme:
        waiting_for_a_slot = [
            asyncio.create_task(view.integrations.create(SHOP)) for view in (acme, acme.for_subdomain("globex"))
        ]
        for task in waiting_for_a_slot:
            with pytest.raises(ConfigurationError, match="it wants a password"):
                await asyncio.wait_for(task, 10.0)
        assert not creates(sim)


# --- the command line, and a worker


@pytest.fixture
def settings(monkeypatch):
    monkeypatch.setenv("CLARUS_ACCESS_TOKEN", "t")
    monkeypatch.setenv("CLARUS_SUBDOMAIN", "acme")
    monkeypatch.setenv("CLARUS_BASE_URL", "http://127.0.0.1:9")


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("how", ["an option", "the environment"])
@pytest.mark.parametrize(
    ("url_of", "status", "words"),
    [
        *((url_of, 2, words) for url_of, words in REAL.values()),
        (lambda _: f"redis://:{CANARY}@127.0.0.1:1", 1, "Redis at 127.0.0.1:1: Connection refused"),
        (lambda _: f"redis://:{CANARY}/x@127.0.0.1", 2, "percent-encode"),
    ],
    ids=[*REAL, "down", "not encoded"],
)
def test_the_command_line_says_it_in_one_line(guarded, how, url_of, status, words, capsys, monkeypatch, tmp_path):
    file = tmp_path / "f.csv"
    file.write_text("name,integration_type\nShop,shopify\n")
    monkeypatch.setenv(celery.BROKER, url_of(guarded))
    given = "-" if how == "the environment" else url_of(guarded)
    assert main(["provision", str(file), "--celery", given]) == status
    said = capsys.readouterr()
    [line] = said.err.splitlines()
    assert line.startswith("clarus: error: ")
    assert words in line
    assert CANARY not in said.err + said.out


def celery_command(broker, *command):
    bare = {name: value for name, value in os.environ.items() if not name.startswith("CLARUS_")}
    return {
        "args": [sys.executable, "-m", "celery", "-A", "clarus_async.fleet.celery", *command],
        "env": bare | {celery.BROKER: broker, "CLARUS_ACCESS_TOKEN": "t", "CLARUS_SUBDOMAIN": "acme"},
        "text": True,
    }


def test_a_worker_that_redis_refuses_ends_with_one_line(guarded):
    url_of, words = REAL["no scripts"]
    command = celery_command(url_of(guarded), "worker", "--pool", "solo")
    done = subprocess.run(**command, capture_output=True, timeout=60, check=False)
    assert done.returncode == 2, done.stderr
    assert f"clarus: error: Redis at 127.0.0.1:{guarded.port}: {words}" in done.stderr
    assert "Traceback" not in done.stderr
    assert CANARY not in done.stdout + done.stderr


def test_a_worker_with_a_bad_url_shows_nothing_of_it():
    command = celery_command(f"redis://:{CANARY}#x@127.0.0.1", "worker", "--pool", "solo")
    done = subprocess.run(**command, capture_output=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "percent-encode" in done.stdout + done.stderr
    assert CANARY not in done.stdout + done.stderr


def test_a_worker_that_waits_for_redis_shows_no_password():
    # Whatever a password holds, Celery and kombu know where it ends.
    password = quote(f"{CANARY}#/[?@% {CANARY}", safe="")
    command = celery_command(f"redis://u:{password}@127.0.0.1:{free_port()}", "worker", "--pool", "solo")
    said = ""
    with subprocess.Popen(**command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as worker:
        try:
            for line in worker.stdout:
                said += line
                if "Cannot connect to redis" in line:
                    break
        finally:
            worker.kill()
            said += worker.stdout.read()
    assert "Cannot connect to redis" in said
    assert CANARY not in said
