"""What became of each record, and of all of them."""

import copy
import pickle

import attrs
import orjson
import pytest

from clarus_async.errors import Applied, ConnectionFailedError, ValidationError
from clarus_async.provisioning.report import Outcome, OutcomeStatus, Problem, Report

CREATED = Outcome(index=0, key="shop-1", status=OutcomeStatus.CREATED, id=7, resource="integrations", attempts=1)
FAILED = Outcome(
    index=1,
    key="shop-2",
    status=OutcomeStatus.FAILED,
    resource="integrations",
    error=Problem(type="ValidationError", message="422", applied=Applied.NO, retryable=False, status=422),
    attempts=2,
)
DUPLICATED = Outcome(
    index=2,
    key="shop-3",
    status=OutcomeStatus.DUPLICATED,
    id=1,
    resource="integrations",
    matched_by="name",
    others=(2, 3),
)
UPDATED = attrs.evolve(
    CREATED, status=OutcomeStatus.UPDATED, unpatched=("provider", "account_id"), differs=("account_id",)
)


def test_the_statuses_of_the_contract():
    assert set(OutcomeStatus) == {
        "created", "adopted", "updated", "disabled", "deleted", "synchronized", "failed", "conflict", "unresolved",
        "duplicated",
    }  # fmt: skip


@pytest.mark.parametrize("status", OutcomeStatus)
def test_only_a_record_that_is_there_as_it_should_be_is_ok(status):
    assert status.ok is (status not in {"failed", "conflict", "unresolved", "duplicated"})


@pytest.mark.parametrize("outcome", [CREATED, FAILED, DUPLICATED, UPDATED])
def test_an_outcome_is_one_line_of_json(outcome):
    line = outcome.to_json()

    assert b"\n" not in line
    assert Outcome.from_json(line) == outcome
    assert Outcome.from_json(line.decode()) == outcome


@pytest.mark.parametrize("field", ["unpatched", "differs"])
def test_a_line_of_an_earlier_release_is_read(field):
    fields = orjson.loads(CREATED.to_json())
    del fields[field]

    assert Outcome.from_json(orjson.dumps(fields)) == CREATED


def test_what_is_read_back_has_its_types():
    there = Outcome.from_json(FAILED.to_json())

    assert type(there.status) is OutcomeStatus
    assert type(there.error) is Problem
    assert type(there.error.applied) is Applied


def test_the_json_is_plain():
    assert orjson.loads(DUPLICATED.to_json()) == {
        "index": 2, "key": "shop-3", "status": "duplicated", "id": 1,
        "resource": "integrations", "matched_by": "name", "error": None,
        "attempts": 0, "others": [2, 3], "unpatched": [], "differs": [],
    }  # fmt: skip


@pytest.mark.parametrize("travel", [copy.copy, copy.deepcopy, lambda outcome: pickle.loads(pickle.dumps(outcome))])
@pytest.mark.parametrize("outcome", [CREATED, FAILED, DUPLICATED])
def test_an_outcome_travels(outcome, travel):
    assert travel(outcome) == outcome


def test_an_outcome_is_frozen():
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        copy.copy(CREATED).key = "x"


def test_a_problem_keeps_what_can_be_kept_of_an_error():
    error = ValidationError("422 is taken", method="POST", path="/x", status=422, applied=Applied.NO, attempts=1)

    assert Problem.of(error) == Problem(
        type="ValidationError", message=str(error), applied=Applied.NO, retryable=False, status=422
    )


def test_a_problem_without_an_answer_has_no_status():
    assert Problem.of(ConnectionFailedError("no connection", retryable=True)).status is None


def test_a_new_report_counts_nothing():
    report = Report()

    assert (report.total, report.attempts, report.ok) == (0, 0, True)
    assert set(report.counts) == set(OutcomeStatus)


def test_a_report_counts_by_status():
    report = Report()
    for outcome in (CREATED, CREATED, FAILED):
        report.add(outcome)

    assert (report.counts[OutcomeStatus.CREATED], report.counts[OutcomeStatus.FAILED]) == (2, 1)
    assert (report.total, report.attempts) == (3, 4)


@pytest.mark.parametrize("status", OutcomeStatus)
def test_a_report_is_ok_where_every_record_is(status):
    report = Report()
    report.add(CREATED)
    report.add(attrs.evolve(CREATED, status=status))

    assert report.ok is status.ok


def test_a_report_as_plain_data_adds_up():
    report = Report()
    for outcome in (CREATED, FAILED, DUPLICATED):
        report.add(outcome)
    counts = report.as_dict()

    assert counts.pop("attempts") == 3
    assert counts.pop("total") == sum(counts.values()) == 3
    assert list(counts) == [str(status) for status in OutcomeStatus]


async def outcomes(*given):
    for outcome in given:
        yield outcome


async def test_collecting_a_run_counts_all_of_it():
    report = await Report.collect(outcomes(CREATED, FAILED))

    assert (report.total, report.ok) == (2, False)


async def test_collecting_a_run_raises_what_the_run_raises():
    async def run():
        yield CREATED
        raise ConnectionFailedError("gone")

    with pytest.raises(ConnectionFailedError):
        await Report.collect(run())
