"""Two hundred seeds of :mod:`tests.simulation`; its command runs as many as you like."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest

import clarus_async
from clarus_async.auth.token_manager import TokenManager
from clarus_async.reconcile import decide as reconcile
from clarus_async.reconcile.decide import SendAgain
from tests.simulation.__main__ import run_seed
from tests.simulation.mutants import MUTANTS
from tests.simulation.plan import make_plan
from tests.simulation.world import run_plan

SEEDS = 200
CHUNK = 25


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_no_seed_breaks_a_promise(first):
    rows = [run_seed(seed) for seed in range(first, first + CHUNK)]
    assert [(row["seed"], row["broken"]) for row in rows if row["broken"]] == []
    assert sum(row["requests"] for row in rows) > 10 * CHUNK


def test_the_same_seed_takes_the_same_course_in_any_process(tmp_path):
    digests = []
    for salt in ("1", "2"):
        found = tmp_path / f"{salt}.json"
        command = [sys.executable, "-m", "tests.simulation", "--seeds", "12", "--jobs", "1", "--json", str(found)]
        subprocess.run(command, check=True, capture_output=True, env=os.environ | {"PYTHONHASHSEED": salt})
        digests.append([row["digest"] for row in json.loads(found.read_text())["rows"]])
    assert digests[0] == digests[1]
    assert len(set(digests[0])) == 12


def test_seeds_differ_in_everything_that_can_go_wrong():
    plans = [make_plan(seed) for seed in range(SEEDS)]
    assert {happening.what for plan in plans for happening in plan.happenings} == {
        "tokens end", "quota", "clock", "faults", "outage", "crash", "stop"
    }  # fmt: skip
    assert len({fault.kind for plan in plans for fault in plan.faults}) >= 15
    assert {plan.job.existing for plan in plans if plan.job} == {"adopt", "update", "fail", "ignore"}


def breaks(promise, seeds=200):
    return any(promise == broken for seed in range(seeds) for broken, _ in run_seed(seed)["broken"])


class TestPlanted:
    """The oracle notices; ``python -m tests.simulation --mutants`` plants many more."""

    def test_what_may_be_there_is_sent_again(self):
        decide = reconcile.decide

        def hasty(in_doubt, result, settle, *, may_send_again):
            step = decide(in_doubt, result, settle, may_send_again=may_send_again)
            return SendAgain() if may_send_again and result is None and in_doubt.sends == 1 else step

        with patch("clarus_async.reconcile.loop.decide", hasty):
            assert breaks("no duplicate")

    def test_a_dead_token_stays_in_use(self):
        with patch.object(TokenManager, "reject", lambda self, token: None):
            assert breaks("no dead token")

    def test_an_exception_of_another_kind(self):
        with patch("clarus_async.calls.queries.read_page", lambda listing, data: 1 / 0):
            assert breaks("typed errors")


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.fault)
def test_every_mutant_can_be_planted(mutant):
    module = Path(clarus_async.__file__).parent / mutant.module
    assert module.read_text().count(mutant.old) == 1


def test_a_process_that_is_killed_leaves_its_journal_and_nothing_else():
    plans = (make_plan(seed) for seed in range(1000))
    early = (plan for plan in plans if any(h.what == "crash" and h.at < 8.0 for h in plan.happenings))
    # Not in each of them is the run under way by then.
    history = next(history for history in map(run_plan, early) if len(history.given) > 1)
    assert history.tap.life > 1
    assert history.done
    assert {attempt.life for attempt in history.tap.attempts} >= {1, 2}
