"""Celery workers in processes of their own; ``tests.chaos.celery_kill`` and ``lease_stop`` do more of the same."""

from __future__ import annotations

import os
import subprocess
import sys

import orjson
import pytest

from clarus_async import ConfigurationError
from clarus_async.cli.commands import main
from clarus_async.fleet import celery
from tests.chaos.celery_kill import CANARY, Workers, dump, killed, simulated, write_file
from tests.support.redis_server import RedisServer

LEASE = 0.8


async def test_a_worker_that_is_killed_loses_nothing():
    result = await killed(
        records=160, workers=2, most=1, shard_size=40, concurrency=8, latency=0.2, lease=LEASE, limit=60.0
    )
    assert result.verdict.kept, result
    # What it had sent and not told is found: test_leases sees to it that there is some.
    assert result.kills == 1


def test_the_command_has_workers_do_it(tmp_path):
    file = tmp_path / "records.jsonl"
    write_file(file, 30)
    with RedisServer() as redis, simulated() as sim, Workers(sim, redis.url, 1, tmp_path, lease=0.5, visibility=20):
        done = subprocess.run(
            [sys.executable, "-m", "clarus_async", "provision", str(file), "--celery", "-", "--shard-size", "10"],
            env={**os.environ, **sim.environment(), celery.BROKER: redis.url},
            capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        told = [orjson.loads(line) for line in done.stdout.splitlines()]
        assert done.returncode == 0, done.stderr
        assert sorted((outcome["index"], outcome["status"]) for outcome in told) == [(n, "created") for n in range(30)]
        assert {outcome["key"]: outcome["id"] for outcome in told} == {
            reference: record for record, reference in sim.ledger()
        }
        said = done.stderr.decode()
        assert CANARY not in said + done.stdout.decode()
        # The run is over, and forgotten.
        assert b":shard:" not in dump(redis.url)


# --- what is refused, and what is set


@pytest.mark.parametrize("more", [
    ["--existing", "ignore"], ["--existing", "fail"], ["--dry-run"], ["--journal", "j"], ["--simulate"],
    ["--max-failures", "1"], ["--rejects", "r.csv"],
], ids=" ".join)  # fmt: skip
def test_what_does_not_go_with_workers_is_refused(more, capsys, tmp_path):
    assert main(["provision", str(tmp_path / "f.csv"), "--celery", "redis://127.0.0.1:1", *more]) == 2
    assert f"{' '.join(more[:1])}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "url", "said"),
    [
        ("-", "redis://h", "standard input is not one"),
        ("/dev/null", "redis://h", "/dev/null is not one"),
        ("nowhere.csv", "redis://h", "nowhere.csv: No such file"),
        ("f.csv", "http://:hunter2@h", "must be the URL of Redis"),
        ("f.csv", "-", "must be the URL of Redis"),
    ],
)
def test_what_can_not_be_shared_is_refused(file, url, said, capsys, monkeypatch):
    monkeypatch.setenv("CLARUS_ACCESS_TOKEN", "t")
    monkeypatch.setenv("CLARUS_SUBDOMAIN", "acme")
    monkeypatch.delenv(celery.BROKER, raising=False)
    assert main(["provision", file, "--celery", url]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "hunter2" not in error


def test_the_module_is_an_application(monkeypatch):
    from celery.app.utils import find_app

    monkeypatch.delitem(celery.__dict__, "app", raising=False)
    monkeypatch.setenv(celery.BROKER, "http://elsewhere")
    with pytest.raises(ConfigurationError, match="must be the URL of Redis"):
        celery.app  # noqa: B018
    monkeypatch.setenv(celery.BROKER, "redis://127.0.0.1:1/0")
    app = find_app("clarus_async.fleet.celery")
    monkeypatch.delitem(celery.__dict__, "app")
    assert app.conf.task_acks_late
    assert app.conf.task_reject_on_worker_lost
    assert app.conf.broker_transport_options["visibility_timeout"] > 2 * celery.LEASE
    assert celery.TASK in app.tasks


def test_a_worker_without_settings_says_so_and_ends():
    bare = {name: value for name, value in os.environ.items() if not name.startswith("CLARUS_")}
    done = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "clarus_async.fleet.celery", "worker", "--pool", "solo"],
        env=bare | {celery.BROKER: "redis://127.0.0.1:1/0", "CLARUS_CLIENT_SECRET": CANARY},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "CLARUS_SUBDOMAIN is missing; CLARUS_CLIENT_ID is missing" in done.stderr
    assert CANARY not in done.stdout + done.stderr
