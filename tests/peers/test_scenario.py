"""What a row counts, and how a server of somebody else's is started and ended."""

import datetime as dt
import socket
import sys

import pytest

from clarus_async import PaceState
from clarus_async.events import AttemptEvent
from tests.peers.__main__ import line, named
from tests.peers.limiters import LIMITERS
from tests.peers.scenario import Right, Row, Told, first_wall, in_words, judge
from tests.peers.support import program, python_package, skip_unless
from tests.support.process import Process
from tests.support.second_integrations import Record

# Listens in two processes, and neither ends when it is asked to.
STUBBORN = """
import os, signal, socket, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
os.fork()
time.sleep(60)
"""


def stored(*keys):
    now = dt.datetime.now(dt.UTC)
    return [Record(n, "acme", {"external_system_reference1": key}, now) for n, key in enumerate(keys, start=1)]


def row(*told):
    told_of = Row(peer="x", records=len(told), goodput=None, refused=0, seconds=1, pace="", told=told)
    return judge(told_of, stored("a", "b", "b"))


@pytest.mark.parametrize(
    ("told", "counts"),
    [
        (Told("a", "created", 1), (0, 0, 0)),
        (Told("a", "adopted", 1), (0, 0, 0)),
        (Told("a", "created", 2), (0, 1, 0)),
        (Told("c", "created", 3), (0, 1, 0)),
        (Told("b", "created", 2), (0, 0, 1)),
        (Told("b", "duplicated", 2), (1, 0, 0)),
        (Told("b", "duplicated", 2, others=(3,)), (0, 0, 0)),
        (Told("b", "unresolved", others=(2, 3)), (0, 0, 0)),
        (Told("b", "unresolved", others=(2,)), (1, 0, 0)),
        (Told("a", "duplicated", 1, others=(2,)), (1, 0, 0)),
        (Told("a", "failed"), (1, 0, 1)),
        (Told("a", "unresolved"), (1, 0, 0)),
        (Told("c", "failed"), (1, 0, 0)),
    ],
    ids=str,
)
def test_what_is_told_is_held_against_what_is_stored(told, counts):
    judged = row(told)

    assert (judged.failed, judged.lost, judged.untrue) == counts
    assert judged.untold == 0
    assert judged.twice == 1


def test_a_record_of_which_nothing_was_told_is_counted_as_such():
    twice_told = Told("a", "created", 1)

    assert row(twice_told, twice_told).untold == 1


def attempts(*answers):
    return [AttemptEvent(1, "create", 1, at - 0.1, 0.1, status, None, "", None) for at, status in answers]


def test_a_first_wall_is_what_was_refused_within_a_second_by_what_was_answered_before():
    before = [(0.0, 200), (0.1, 200), (0.2, 200), (0.3, 200)]
    # Requests end in another order than they are told of.
    wall = [(1.7, 429), (0.5, 429), (1.0, 200), (0.6, 503)]

    assert first_wall(attempts(*wall, *before)) == 2 / 4


def test_without_a_refusal_there_is_no_wall():
    assert first_wall(attempts((0.0, 200), (0.1, None), (0.2, 502))) is None


def test_a_refusal_before_any_answer_is_a_wall():
    assert first_wall(attempts((0.0, 429), (0.1, 429))) == 2


@pytest.mark.parametrize(
    ("right", "shown"),
    [
        (Right(), ["0.93", "2.5%", "0.20"]),
        (Right(goodput=0.93, refused=0.025, wall=0.2), ["0.93", "0.93", "2.5%", "2.5%", "0.20", "0.20"]),
        (Right(goodput=0.95, refused=0.02, wall=0.125), ["0.93", "<0.95", "2.5%", ">2.0%", "0.20", ">0.12"]),
    ],
    ids=["none", "reached", "missed"],
)
def test_a_right_value_stands_beside_the_figure_and_is_marked_where_it_is_missed(right, shown):
    it = Row(peer="x", records=9, goodput=0.93, refused=0.025, wall=0.2, seconds=1, pace="", right=right)

    assert line(it).split()[2:-6] == shown


def test_what_is_believed_is_told_with_all_that_is_known():
    believed = PaceState(
        rate=49.82, source="learned", waiting=0, paused_until=None, queued=0, kind="bucket", burst=21, window=None,
        certainty=0.9,
    )  # fmt: skip

    assert in_words(believed) == "learned bucket 49.82/s 21 at once"
    assert in_words(believed._replace(source="none", rate=None, kind=None, burst=None)) == "none"


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("nginx-limit-req-429", ["nginx-limit-req-429"]),
        ("limiters", list(LIMITERS)),
        ("tour-yoga", ["tour-yoga-plain", "tour-yoga-no-introspection", "tour-yoga-complexity"]),
        ("nobody", []),
    ],
)
def test_a_name_stands_for_one_scenario_or_for_all_that_it_begins(name, names):
    assert [scenario.name for scenario in named(name)] == names


def test_a_test_whose_software_is_missing_is_skipped_with_the_commands_that_install_it():
    with pytest.raises(pytest.skip.Exception) as skipped:
        skip_unless(program("sh"), program("no-such-server", "no-such-package"), python_package("no-such-module"))

    assert str(skipped.value) == (
        "not installed: no-such-server, no-such-module; "
        "apt-get install -y no-such-package; .venv/bin/pip install no-such-module"
    )


def test_a_server_that_does_not_end_is_killed_with_what_it_started(monkeypatch):
    monkeypatch.setattr("tests.support.process._STOP_WITHIN", 0.2)

    with Process(lambda folder, port: [sys.executable, "-c", STUBBORN, str(port)]) as server:
        socket.create_connection(("127.0.0.1", server.port)).close()

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))
    assert not server.folder.exists()


def test_a_server_that_does_not_start_says_why():
    with pytest.raises(RuntimeError, match="no such configuration"):
        Process(lambda folder, port: ["sh", "-c", "echo no such configuration; exit 1"]).__enter__()
