"""The fuzz targets hold for some inputs; and what runs them finds what is broken, and keeps it to be tried again."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.engine import Target, with_hypothesis
from tests.fuzz.fitting import fits
from tests.fuzz.mutation import spoil
from tests.fuzz.targets import TARGETS
from tests.support.strategies import thorough


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
def test_no_input_breaks_a_promise(target):
    # A quarter of a million rows take seconds.
    examples = 4 if target.name == "long" else thorough.max_examples

    @given(target.inputs)
    @settings(thorough, max_examples=examples)
    def check(value):
        target.check(value)

    check()


def fails_on_a_nul(value):
    assert b"\x00" not in value


def test_what_breaks_a_promise_is_shrunk_and_kept_as_a_literal():
    result = with_hypothesis(Target("x", st.binary(), fails_on_a_nul), 30.0, seed=1)

    assert ast.literal_eval(result.failed) == b"\x00"
    assert result.error.startswith("AssertionError")
    assert result.cases > 0


def test_an_input_that_takes_long_breaks_a_promise():
    result = with_hypothesis(Target("x", st.just(1), lambda value: sum(range(100_000)), most=1e-9), 30.0, seed=1)

    assert "took" in result.error


def test_what_holds_is_tried_until_the_time_is_over():
    result = with_hypothesis(Target("x", st.integers(), lambda value: None), 0.2, seed=1)

    assert result.failed is None
    assert result.cases > 20
    assert result.seconds >= 0.2


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("insert", b"abXYcdef"), ("replace", b"abXYef"), ("delete", b"abef"), ("double", b"abcdcdef"),
        ("flip", b"abgdef"), ("cut", b"ab"),
    ],
)  # fmt: skip
def test_a_document_is_spoilt_where_it_is_said(kind, expected):
    # A third of the way through seven places.
    assert spoil(b"abcdef", [(kind, 2**16 // 3, 2, b"XY")]) == expected


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (1, int, True), (True, int, False), (1, float, True), ("1", int, False), (None, int | None, True),
        ((1, 2), tuple[int, ...], True), ((1, "2"), tuple[int, ...], False), (["a"], list[str], True),
    ],
)  # fmt: skip
def test_a_value_fits_what_its_annotation_says(value, kind, expected):
    assert fits(value, kind) is expected
