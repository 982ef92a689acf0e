"""Runs with a journal that end before their time: the next one gives every record its outcome, and sends none twice."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import sqlite3
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

from clarus_async import Timeouts
from clarus_async.errors import ClarusError, JournalError, PermissionDeniedError
from clarus_async.provisioning.journal.file import JournalFile
from clarus_async.simulator import Endpoint, Fault, FaultKind, Simulator, schema
from tests.support import builders
from tests.support.builders import referenced, shops, until
from tests.support.virtual import Turns, each_test, now, run_virtually, settle, virtual
from tests.support.virtual_world import journals_inline

TIMEOUTS = Timeouts(attempt=5.0, settle=20.0)
STALL = Fault(FaultKind.STALL_AFTER, delay=1000.0)
STALL_BEFORE = Fault(FaultKind.STALL_BEFORE, delay=1000.0)
LINUX = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")


@pytest.fixture(scope="module", autouse=True)
def queries_are_read_once():
    """Hundreds of simulators are asked the same few queries, and those are known to be good."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "parse", functools.cache(schema.parse))
        patch.setattr(schema, "validate", lambda schema, document: [])
        yield


@pytest.fixture
def sim():
    """A simulator, which ``virtually`` runs for as long as the test does."""
    return Simulator()


@each_test
def virtually(test):
    """Run an async test, or those of a class, in virtual time, with journals inline and the ``sim`` that it takes."""

    @functools.wraps(test)
    @virtual
    async def run(*args, **kwargs):
        with journals_inline():
            async with kwargs.get("sim") or contextlib.nullcontext():
                await test(*args, **kwargs)

    return run


client_of = functools.partial(builders.client_of, timeouts=TIMEOUTS)


async def run(sim, specs, path, *, most=None, outcomes=None, **options):
    """Run in a client of its own, as a new process would; leave after ``most`` outcomes."""
    outcomes = [] if outcomes is None else outcomes
    async with (
        client_of(sim) as clarus,
        clarus.integrations.provision(specs, journal=path, **{"concurrency": 4} | options) as running,
    ):
        if most != 0:
            async for outcome in running:
                outcomes.append(outcome)
                if len(outcomes) == most:
                    break
    return outcomes


async def cut_off(sim, specs, path, seconds=2.0, *, sent=None, **options):
    """Run for some seconds, or until so many creates were sent, then cancel whatever is under way."""
    outcomes = []
    reading = asyncio.ensure_future(run(sim, specs, path, outcomes=outcomes, **options))
    if sent is None:
        await asyncio.sleep(seconds)
    else:
        await until(lambda: creates(sim) == sent)
    reading.cancel()
    await asyncio.wait([reading])
    return outcomes


def ledger(sim):
    return Counter(record.external_system_reference1 for record in sim.created("acme"))


def statuses(outcomes):
    return {outcome.key: outcome.status.value for outcome in sorted(outcomes, key=lambda outcome: outcome.index)}


def creates(sim):
    return sum(request.endpoint is Endpoint.CREATE for request in sim.requests)


def sends(sim, number):
    """The create requests of a record."""
    wanted = f'"ref-{number}"'.encode()
    return [request for request in sim.requests if request.endpoint is Endpoint.CREATE and wanted in request.body]


def rows(path):
    """What a journal holds, by key."""
    file = JournalFile(path)
    known = file.open()
    found = file.fetch([one.n for one in known])
    file.close()
    return {row.key: row for row in found.values()}


@virtually
class TestEveryRecordHasItsOutcome:
    async def test_what_could_not_be_patched_is_told_again(self, sim, tmp_path):
        sim.preload("acme", [{"name": "Shop 0", "integration_type": "shopify"}])
        first = await run(sim, shops(1), tmp_path / "run.db", existing="update")
        again = await run(sim, shops(1), tmp_path / "run.db", existing="update")
        assert first[0].unpatched
        assert again == first

    @pytest.mark.parametrize("most", range(1, 13))
    async def test_after_a_break(self, tmp_path, most):
        async with Simulator(latency=0.1) as sim:
            await run(sim, shops(12), tmp_path / "run.db", most=most)
            again = await run(sim, shops(12), tmp_path / "run.db")
            assert sorted(outcome.index for outcome in again) == list(range(12))
            assert all(outcome.status.ok for outcome in again)
            assert ledger(sim) == Counter({f"ref-{n}": 1 for n in range(12)})
            stored = {record.external_system_reference1: record.id for record in sim.created("acme")}
            assert {outcome.key: outcome.id for outcome in again} == stored

    async def test_failed_ones_are_tried_again(self, sim, tmp_path):
        sim.script(Endpoint.CREATE, FaultKind.JSON_API_ERROR, None, FaultKind.JSON_API_ERROR)
        first = await run(sim, shops(4), tmp_path / "run.db", concurrency=1)
        assert Counter(statuses(first).values()) == {"failed": 2, "created": 2}
        again = await run(sim, shops(4), tmp_path / "run.db")
        assert set(statuses(again).values()) == {"created"}
        assert creates(sim) == 6

    async def test_refused_rows_are_counted_once_after_many_resumes(self, tmp_path):
        specs = [referenced(0), referenced(0), referenced(1), "no record", referenced(1)]
        async with Simulator() as sim:
            for _ in range(4):
                outcomes = await run(sim, specs, tmp_path / "run.db")
                assert Counter(outcome.status.value for outcome in outcomes) == {"created": 2, "failed": 3}
        assert journaled(tmp_path / "run.db") == {"created": 2, "failed": 3}

    async def test_two_files_that_overlap_where_the_first_was_cut_off(self, sim, tmp_path):
        sim.script(Endpoint.CREATE, *[STALL] * 4)
        await cut_off(sim, shops(10), tmp_path / "run.db")
        await run(sim, shops(10, first=5), tmp_path / "run.db")
        await run(sim, shops(10), tmp_path / "run.db")
        assert ledger(sim) == Counter({f"ref-{n}": 1 for n in range(15)})

    async def test_a_source_that_raises(self, tmp_path):
        def torn():
            yield from shops(7)
            raise LookupError("the query was cut off")

        async with Simulator() as sim:
            with pytest.raises(LookupError):
                await run(sim, torn(), tmp_path / "run.db")
            outcomes = await run(sim, shops(9), tmp_path / "run.db")
            assert len(outcomes) == 9
            assert ledger(sim) == Counter({f"ref-{n}": 1 for n in range(9)})

    async def test_too_many_failures(self, sim, tmp_path):
        sim.script(Endpoint.CREATE, *[FaultKind.JSON_API_ERROR] * 3)
        with pytest.raises(ClarusError, match="max_failures=2"):
            await run(sim, shops(20), tmp_path / "run.db", max_failures=2)
        assert len(ledger(sim)) <= 4
        outcomes = await run(sim, shops(20), tmp_path / "run.db")
        assert set(statuses(outcomes).values()) == {"created"}
        assert ledger(sim) == Counter({f"ref-{n}": 1 for n in range(20)})


def journaled(path):
    """The number of records in a journal, by status."""
    database = sqlite3.connect(path)
    counts = dict(database.execute("SELECT status, count(*) FROM records GROUP BY status"))
    database.close()
    return counts


@virtually
class TestInFlight:
    """What was on the wire when a run was cut off may be there, or not."""

    async def test_what_is_there_is_adopted(self, sim, tmp_path):
        sim.script(Endpoint.CREATE, *[STALL] * 4)
        await cut_off(sim, shops(4), tmp_path / "run.db")
        assert len(ledger(sim)) == 4
        outcomes = await run(sim, shops(4), tmp_path / "run.db")
        assert set(statuses(outcomes).values()) == {"adopted"}
        assert creates(sim) == 4

    async def test_it_is_not_sent_before_the_server_had_time_to_settle_from_the_resume(self, sim, tmp_path):
        sim.script(Endpoint.CREATE, STALL_BEFORE)
        await cut_off(sim, shops(1), tmp_path / "run.db")
        await asyncio.sleep(1000.0)
        resumed = now()
        await run(sim, shops(1), tmp_path / "run.db")
        assert sends(sim, 0)[1].at - resumed >= TIMEOUTS.settle

    async def test_what_the_server_applies_within_settle_of_the_resume_is_adopted(self, sim, tmp_path):
        sim.script(Endpoint.CREATE, Fault(FaultKind.LATE_APPLY, delay=TIMEOUTS.settle))
        await cut_off(sim, shops(1), tmp_path / "run.db", seconds=0.5)
        outcomes = await run(sim, shops(1), tmp_path / "run.db")
        assert statuses(outcomes) == {"ref-0": "adopted"}
        assert ledger(sim) == {"ref-0": 1}

    @pytest.mark.parametrize("ends", [STALL_BEFORE, FaultKind.JSON_API_ERROR], ids=["cut off", "failed"])
    async def test_it_has_the_same_idempotency_key(self, sim, tmp_path, ends):
        sim.script(Endpoint.CREATE, ends)
        await cut_off(sim, shops(1), tmp_path / "run.db")
        await run(sim, shops(1), tmp_path / "run.db")
        first, second = (request.headers["Idempotency-Key"] for request in sends(sim, 0))
        assert first == second
        assert ledger(sim) == {"ref-0": 1}

    async def test_ids_that_were_seen_before_the_send_do_not_answer_for_it(self, tmp_path):
        """Two records of the name were there, which ``ignore`` would not mind: the journal remembers them."""
        async with Simulator(searchable_references=True) as sim:
            old = {"name": "Shop 0", "integration_type": "shopify"}
            sim.script(Endpoint.CREATE, STALL_BEFORE)
            await cut_off(sim, shops(1), tmp_path / "run.db")
            # By reference nothing was there; what somebody else put there since has another name.
            sim.preload("acme", [old])
            outcomes = await run(sim, shops(1), tmp_path / "run.db")
            assert statuses(outcomes) == {"ref-0": "created"}

    async def test_a_second_cut_changes_nothing(self, sim, tmp_path):
        sim.script(Endpoint.CREATE, STALL, STALL_BEFORE)
        for _ in range(3):
            await cut_off(sim, shops(2), tmp_path / "run.db", seconds=1.0)
        await run(sim, shops(2), tmp_path / "run.db")
        assert ledger(sim) == {"ref-0": 1, "ref-1": 1}

    async def test_a_run_has_retries_of_its_own(self, sim, tmp_path):
        for _ in range(4):
            sim.script(Endpoint.CREATE, STALL_BEFORE)
            await cut_off(sim, shops(1), tmp_path / "run.db", seconds=TIMEOUTS.settle + 3.0)
        outcomes = await run(sim, shops(1), tmp_path / "run.db")
        assert statuses(outcomes) == {"ref-0": "created"}

    async def test_a_dry_run_says_that_they_are_unresolved_and_changes_nothing(self, sim, tmp_path):
        sim.script(Endpoint.CREATE, STALL)
        await cut_off(sim, shops(1), tmp_path / "run.db")
        before = creates(sim)
        outcomes = await run(sim, shops(1), tmp_path / "run.db", dry_run=True)
        assert statuses(outcomes) == {"ref-0": "unresolved"}
        assert creates(sim) == before

    async def test_what_was_sent_twice_and_is_there_twice_is_duplicated(self, sim, tmp_path):
        # Too late for settle: it is sent again, and both are applied while nobody looks.
        sim.script(Endpoint.CREATE, Fault(FaultKind.LATE_APPLY, delay=30.0), STALL)
        await cut_off(sim, shops(1), tmp_path / "run.db", seconds=24.0)
        await asyncio.sleep(10.0)
        assert ledger(sim) == {"ref-0": 2}
        outcomes = await run(sim, shops(1), tmp_path / "run.db")
        assert statuses(outcomes) == {"ref-0": "duplicated"}

    async def test_a_run_that_is_resumed_by_the_same_client_sends_nothing_twice(self, tmp_path):
        """The answers came, and the run was left before they were written down."""
        async with Simulator(latency=0.5) as sim, client_of(sim) as clarus:
            write = JournalFile.write

            def intents_only(file, rows, stretch):
                if rows[0].status is not None:
                    raise JournalError("the disk is full")
                write(file, rows, stretch)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(JournalFile, "write", intents_only)
                with pytest.raises(JournalError):
                    async for _ in clarus.integrations.provision(shops(3), journal=tmp_path / "run.db"):
                        pass
            async for _ in clarus.integrations.provision(shops(3), journal=tmp_path / "run.db"):
                pass
            assert ledger(sim) == {"ref-0": 1, "ref-1": 1, "ref-2": 1}


@virtually
class TestUnresolved:
    """An outcome that nobody could settle in time, of a record that has an id."""

    async def test_a_record_with_an_id_is_not_sent_again(self, sim, tmp_path):
        # Sent twice, with an answer to the second; the run ends before its last look.
        sim.script(Endpoint.CREATE, FaultKind.RESET_BEFORE, None)
        sim.script(Endpoint.GRAPHQL, *[None] * 4, *[FaultKind.FORBIDDEN] * 2)
        with pytest.raises(PermissionDeniedError):
            await run(sim, shops(1), tmp_path / "run.db")
        assert rows(tmp_path / "run.db")["ref-0"].status == "unresolved"
        assert rows(tmp_path / "run.db")["ref-0"].id == 1
        sim.script(Endpoint.GRAPHQL)
        await run(sim, shops(1), tmp_path / "run.db")
        assert ledger(sim) == {"ref-0": 1}


@virtually
class TestChanged:
    """A record of the input is not the one that the journal knows by its key."""

    @pytest.mark.parametrize("searchable", [True, False], ids=["by reference", "by name"])
    @pytest.mark.parametrize(
        ("existing", "status", "string1"),
        [("adopt", "adopted", None), ("update", "updated", "new"), ("fail", "failed", None)],
    )
    async def test_a_finished_one_is_treated_as_existing_says(self, tmp_path, existing, status, string1, searchable):
        async with Simulator(searchable_references=searchable) as sim:
            await run(sim, [referenced(0)], tmp_path / "run.db", existing=existing)
            outcomes = await run(sim, [referenced(0, string1="new")], tmp_path / "run.db", existing=existing)
            assert statuses(outcomes) == {"ref-0": status}
            assert [record.attributes.get("string1") for record in sim.created("acme")] == [string1]

    async def test_ignore_sends_it(self, sim, tmp_path):
        await run(sim, [referenced(0)], tmp_path / "run.db", existing="ignore")
        outcomes = await run(sim, [referenced(0, string1="new")], tmp_path / "run.db", existing="ignore")
        assert statuses(outcomes) == {"ref-0": "created"}
        assert ledger(sim) == {"ref-0": 2}

    async def test_it_has_another_idempotency_key(self, sim, tmp_path):
        sim.script(Endpoint.CREATE, FaultKind.JSON_API_ERROR)
        await run(sim, [referenced(0)], tmp_path / "run.db")
        await run(sim, [referenced(0, string1="new")], tmp_path / "run.db")
        first, second = (request.headers["Idempotency-Key"] for request in sends(sim, 0))
        assert first != second

    async def test_once_treated_it_is_finished(self, tmp_path):
        async with Simulator(searchable_references=True) as sim:
            for _ in range(2):
                await run(sim, [referenced(0)], tmp_path / "run.db", existing="update")
            await run(sim, [referenced(0, string1="new")], tmp_path / "run.db", existing="update")
            before = len(sim.requests)
            outcomes = await run(sim, [referenced(0, string1="new")], tmp_path / "run.db", existing="update")
            assert statuses(outcomes) == {"ref-0": "updated"}
            assert len(sim.requests) == before

    async def test_one_in_flight_is_updated(self, sim, tmp_path):
        sim.script(Endpoint.CREATE, STALL)
        await cut_off(sim, [referenced(0)], tmp_path / "run.db", existing="update")
        await run(sim, [referenced(0, string1="new")], tmp_path / "run.db", existing="update")
        before = len(sim.requests)
        await run(sim, [referenced(0, string1="new")], tmp_path / "run.db", existing="update")
        assert len(sim.requests) == before
        assert [record.attributes.get("string1") for record in sim.created("acme")] == ["new"]

    async def test_one_that_stays_in_doubt_is_still_what_was_sent(self, sim, tmp_path):
        sim.script(Endpoint.CREATE, STALL)
        await cut_off(sim, [referenced(0)], tmp_path / "run.db", existing="update")
        sim.script(Endpoint.GRAPHQL, None, *[FaultKind.FORBIDDEN] * 2)
        with pytest.raises(PermissionDeniedError):
            await run(sim, [referenced(0, string1="new")], tmp_path / "run.db", existing="update")
        sim.script(Endpoint.GRAPHQL)
        outcomes = await run(sim, [referenced(0, string1="new")], tmp_path / "run.db", existing="update")
        assert statuses(outcomes) == {"ref-0": "updated"}
        assert [record.attributes.get("string1") for record in sim.created("acme")] == ["new"]

    async def test_one_in_flight_that_has_another_name_now_is_not_sent_twice(self, sim, tmp_path):
        sim.script(Endpoint.CREATE, STALL)
        await cut_off(sim, [referenced(0)], tmp_path / "run.db")
        await run(sim, [referenced(0, name="Renamed")], tmp_path / "run.db")
        assert ledger(sim) == {"ref-0": 1}


@virtually
class TestUpdates:
    async def test_a_change_that_was_cut_off_is_made_again(self, sim, tmp_path):
        sim.preload("acme", [{"name": "Shop 0", "integration_type": "shopify"}])
        sim.script(Endpoint.UPDATE, STALL_BEFORE)
        specs = [referenced(0, string1="new")]
        await cut_off(sim, specs, tmp_path / "run.db", existing="update")
        outcomes = await run(sim, specs, tmp_path / "run.db", existing="update")
        assert statuses(outcomes) == {"ref-0": "updated"}

    async def test_a_change_that_is_unresolved_is_made_again(self, sim, tmp_path):
        sim.preload("acme", [{"name": "Shop 0", "integration_type": "shopify"}])
        sim.script(Endpoint.UPDATE, *[FaultKind.RESET_BEFORE] * 4)
        specs = [referenced(0, string1="new")]
        first = await run(sim, specs, tmp_path / "run.db", existing="update")
        assert statuses(first) == {"ref-0": "unresolved"}
        again = await run(sim, specs, tmp_path / "run.db", existing="update")
        assert statuses(again) == {"ref-0": "updated"}
        assert creates(sim) == 0

    async def test_an_unresolved_change_of_what_this_job_created_is_made_again(self, sim, tmp_path):
        await run(sim, [referenced(0)], tmp_path / "run.db", existing="update")
        sim.script(Endpoint.UPDATE, *[FaultKind.RESET_BEFORE] * 4)
        for _ in range(2):
            await run(sim, [referenced(0, string1="new")], tmp_path / "run.db", existing="update")
        assert [record.attributes.get("string1") for record in sim.created("acme")] == ["new"]


def twin(number):
    return referenced(number, name="Twin")


@virtually
class TestNamesakes:
    """Several records of one name, in a tenant that can't be searched by reference."""

    async def test_a_line_of_them_that_is_cut_off(self, sim, tmp_path):
        sim.script(Endpoint.CREATE, None, STALL)
        specs = [twin(n) for n in range(4)]
        await cut_off(sim, specs, tmp_path / "run.db")
        outcomes = await run(sim, specs, tmp_path / "run.db")
        assert all(outcome.status.ok for outcome in outcomes)
        assert ledger(sim) == Counter({f"ref-{n}": 1 for n in range(4)})

    async def test_one_before_the_one_in_doubt_does_not_take_its_record(self, sim, tmp_path):
        sim.script(Endpoint.CREATE, FaultKind.JSON_API_ERROR, STALL)
        specs = [twin(0), twin(1)]
        await cut_off(sim, specs, tmp_path / "run.db")
        assert ledger(sim) == {"ref-1": 1}
        outcomes = await run(sim, specs, tmp_path / "run.db")
        ids = {record.id: record.external_system_reference1 for record in sim.created("acme")}
        assert all(ids[o.id] == o.key for o in outcomes if o.id is not None)
        assert max(ledger(sim).values()) == 1

    async def test_one_of_another_file_does_not_take_the_record_of_the_one_in_doubt(self, sim, tmp_path):
        sim.script(Endpoint.CREATE, STALL)
        await cut_off(sim, [twin(0)], tmp_path / "run.db")
        await run(sim, [twin(1)], tmp_path / "run.db")
        outcomes = await run(sim, [twin(0), twin(1)], tmp_path / "run.db")
        ids = {record.id: record.external_system_reference1 for record in sim.created("acme")}
        assert all(ids[o.id] == o.key for o in outcomes if o.id is not None)

    async def test_one_that_was_changed_and_waits_for_another_is_not_sent_again(self, sim, tmp_path):
        await run(sim, [twin(1)], tmp_path / "run.db")
        outcomes = await run(sim, [twin(0), referenced(1, name="Twin", string1="new")], tmp_path / "run.db")
        assert statuses(outcomes) == {"ref-0": "created", "ref-1": "adopted"}
        assert ledger(sim) == {"ref-0": 1, "ref-1": 1}


def open_files(path):
    links = []
    for handle in Path("/proc/self/fd").iterdir():
        # The handle of the listing itself is gone by now.
        with contextlib.suppress(OSError):
            links.append(str(handle.readlink()))
    return [link for link in links if link.startswith(str(path))]


def well(sim):
    pass


def doubtful(sim):
    sim.script(Endpoint.CREATE, FaultKind.RESET_AFTER, FaultKind.RESET_BEFORE)


def late(sim):
    sim.script(
        Endpoint.CREATE, Fault(FaultKind.LATE_APPLY, delay=15.0), None, Fault(FaultKind.UNAVAILABLE, retry_after=1)
    )


class Cut(NamedTuple):
    """What became of a run that was cancelled at a turn, and of the one that resumed it."""

    turn: int
    reached: bool
    stayed: list
    outcomes: list
    stored: Counter
    connections: int


def cut_at(turn, scenario, path, *, resumed):
    cuts, files = [], []

    async def check():
        turns = Turns(asyncio.get_running_loop())
        async with Simulator(latency=0.01) as sim:
            scenario(sim)
            if resumed:
                await cut_off(sim, shops(3), path, seconds=0.025, concurrency=2)
            with pytest.MonkeyPatch.context() as patch:
                open_file = JournalFile.open
                patch.setattr(
                    JournalFile, "open", lambda file, **more: (files.append(file), open_file(file, **more))[1]
                )
                reading = asyncio.ensure_future(run(sim, shops(3), path, concurrency=2))
                turns.before(turns.count + turn, reading.cancel)
                await asyncio.wait([reading])
                await settle()
            stayed = open_files(path)
            for file in files:
                # What stayed holds the lock, as it would not in another process.
                file.close()
            outcomes = await run(sim, shops(3), path)
            await asyncio.sleep(1.0)
            cuts.append(Cut(turn, reading.cancelled(), stayed, outcomes, ledger(sim), sim.open_connections))

    run_virtually(check)
    return cuts[0]


@functools.cache
def cuts(scenario, resumed):
    """A run cancelled at one turn of the loop after the other, until it is over before it can be."""
    found, trouble = [], []
    hook, sys.unraisablehook = sys.unraisablehook, trouble.append
    try:
        with tempfile.TemporaryDirectory() as folder, journals_inline():
            turn = FIRST[scenario, resumed]
            while not found or found[-1].reached:
                found.append(cut_at(turn, scenario, Path(folder, f"{turn}.db"), resumed=resumed))
                turn += STRIDE
            gc.collect()
    finally:
        sys.unraisablehook = hook
    assert len(found) > 100 / STRIDE
    return found, [str(one.exc_value) for one in trouble]


# Every turn would take a minute in all; from these, a stride apart, each is another one's neighbour.
STRIDE = 23
FIRST = {(well, False): 1, (doubtful, False): 2, (late, False): 3, (doubtful, True): 4}


@LINUX
@pytest.mark.parametrize(("scenario", "resumed"), FIRST, ids=lambda one: getattr(one, "__name__", f"resumed={one}"))
class TestCancelledAtAnyTurn:
    def test_the_next_run_gives_every_record_its_outcome(self, scenario, resumed):
        found, _ = cuts(scenario, resumed)
        assert {tuple(sorted(outcome.index for outcome in cut.outcomes)) for cut in found} == {(0, 1, 2)}
        assert all(outcome.status.ok for cut in found for outcome in cut.outcomes)

    def test_nothing_is_lost_and_nothing_is_there_twice(self, scenario, resumed):
        found, _ = cuts(scenario, resumed)
        assert [cut for cut in found if cut.stored != {"ref-0": 1, "ref-1": 1, "ref-2": 1}] == []

    def test_no_connection_stays(self, scenario, resumed):
        found, _ = cuts(scenario, resumed)
        assert [cut for cut in found if cut.connections] == []


@LINUX
class TestLeftBehindByACancelledRun:
    def test_no_handle(self):
        assert [cut.turn for first in FIRST for cut in cuts(*first)[0] if cut.stayed] == []

    def test_no_warning(self):
        assert [text for first in FIRST for text in cuts(*first)[1]] == []


class TestOverRealTime:
    """With the journal's own thread, over the kernel's sockets."""

    QUICK = Timeouts(attempt=1.0, settle=1.0)

    async def test_a_break_leaves_no_thread_and_no_handle(self, tmp_path):
        async with Simulator(latency=0.005) as sim, client_of(sim, timeouts=self.QUICK) as clarus:
            async with clarus.integrations.provision(shops(50), journal=tmp_path / "run.db") as running:
                async for _ in running:
                    break
            for thread in threading.enumerate():
                if thread.name.startswith("clarus_async journal"):
                    thread.join(5.0)
                    assert not thread.is_alive()

    async def test_a_run_that_is_cancelled_twice_closes_its_journal(self, tmp_path):
        """As ``asyncio.run`` does with what is still closing when the main task was cancelled."""
        async with Simulator(latency=0.01) as sim, client_of(sim, timeouts=self.QUICK) as clarus:
            running = clarus.integrations.provision(shops(50), journal=tmp_path / "run.db")
            await anext(running)
            running.stop()
            task = running._task
            task.cancel()
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            again = clarus.integrations.provision([], journal=tmp_path / "run.db")
            assert [outcome async for outcome in again] == []

    async def test_ignore_adopts_what_a_crash_left_and_nothing_older(self, tmp_path):
        async with Simulator() as sim:
            sim.preload("acme", [{"name": f"Shop {n}", "integration_type": "shopify"} for n in range(2)])
            sim.script(Endpoint.CREATE, STALL, STALL_BEFORE)
            options = {"existing": "ignore", "concurrency": 2, "journal": tmp_path / "run.db"}
            assert await cut_off(sim, shops(2), tmp_path / "run.db", sent=2, existing="ignore") == []
            async with client_of(sim, timeouts=self.QUICK) as clarus:
                outcomes = [outcome async for outcome in clarus.integrations.provision(shops(2), **options)]
            assert statuses(outcomes) == {"ref-0": "adopted", "ref-1": "created"}
            assert ledger(sim) == {None: 2, "ref-0": 1, "ref-1": 1}
            assert all(outcome.others == () for outcome in outcomes)

    async def test_ignore_does_not_keep_what_an_earlier_look_saw(self, tmp_path):
        async with Simulator() as sim:
            sim.script(Endpoint.CREATE, FaultKind.JSON_API_ERROR, STALL_BEFORE)
            await run(sim, shops(1), tmp_path / "run.db")
            # Somebody else's, which nobody saw before the second send.
            sim.preload("acme", [{"name": "Shop 0", "integration_type": "shopify"}])
            assert await cut_off(sim, shops(1), tmp_path / "run.db", sent=2, existing="ignore") == []
            assert rows(tmp_path / "run.db")["ref-0"].seen is None
