"""Errors and outcomes are plain data: they pickle, copy and, where the contract says so, go through JSON."""

from __future__ import annotations

import copy
import pickle

import attrs
import pytest
from hypothesis import given

from clarus_async.errors import ClarusError
from clarus_async.provisioning.report import Outcome, Problem
from tests.support.strategies import clarus_errors, error_details, outcomes, quick, secrets, thorough

travels = pytest.mark.parametrize(
    "travel", [lambda it: pickle.loads(pickle.dumps(it)), copy.copy, copy.deepcopy], ids=["pickle", "copy", "deepcopy"]
)


def data_of(error):
    return {field.name: getattr(error, field.name) for field in attrs.fields(type(error))}


def same(one, other):
    if one is None or other is None:
        return one is other
    return type(one) is type(other) and data_of(one) == data_of(other) and same(one.__cause__, other.__cause__)


@travels
@given(error=clarus_errors)
@quick
def test_an_error_travels_whole(travel, error):
    there = travel(error)

    assert same(there, error)
    assert (str(there), repr(there)) == (str(error), repr(error))


@given(clarus_errors)
@thorough
def test_an_error_is_one_line(error):
    assert len(f"{error}".splitlines()) <= 1
    assert len(f"{error!r}".splitlines()) == 1


@given(error_details, secrets)
@quick
def test_no_error_shows_the_context_of_its_details(detail, secret):
    detail = attrs.evolve(detail, context={"given": secret})
    error = ClarusError(str(detail))

    assert secret not in f"{error}{error!r}"


@given(outcomes)
@thorough
def test_an_outcome_goes_through_json(outcome):
    line = outcome.to_json()

    assert b"\n" not in line
    assert Outcome.from_json(line) == outcome
    assert Outcome.from_json(line.decode()) == outcome


@given(clarus_errors)
@quick
def test_any_error_is_a_problem_that_an_outcome_carries(error):
    outcome = Outcome(index=0, key="k", status="failed", resource="integrations", error=Problem.of(error))

    assert Outcome.from_json(outcome.to_json()).error == outcome.error
