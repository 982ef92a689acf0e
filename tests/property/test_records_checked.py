"""Records take what JSON carries, refuse the rest by name, and never show a value."""

from __future__ import annotations

import math

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarus_async.errors import InvalidInputError
from clarus_async.resources.integrations import NewIntegration
from clarus_async.validation import plain_or_problem
from tests.support.strategies import (
    NEW_ATTRIBUTES,
    any_texts,
    json_of,
    json_scalars,
    json_values,
    quick,
    secrets,
    thorough,
)


class Unsendable:
    """No JSON value; its repr would give it away."""

    def __init__(self, secret):
        self.secret = secret

    def __repr__(self):
        return self.secret


surrogates = st.tuples(any_texts, st.characters(categories=["Cs"]), any_texts).map("".join)
unsendable_scalars = (
    st.sampled_from([math.nan, math.inf, -math.inf, 2**63, -(2**63) - 1, 10**400]) | surrogates | st.binary(max_size=3)
)


def refused(make, *args, **kwargs):
    with pytest.raises(InvalidInputError) as caught:
        make(*args, **kwargs)
    return caught.value


def with_one(wrong, value=json_values):
    """JSON with exactly one value in it that is none, and the place of that value."""

    @st.composite
    def draw_it(draw):
        at, nested = "configuration", draw(wrong)
        steps = draw(st.lists(st.booleans(), min_size=1, max_size=6))
        path = []
        for in_list in steps:
            others = draw(st.lists(value, max_size=2))
            if in_list:
                place = draw(st.integers(0, len(others)))
                nested = [*others[:place], nested, *others[place:]]
                path.append(f"[{place}]")
            else:
                name = draw(st.text("abcdef", min_size=1, max_size=4))
                nested = {name: nested} | {f"z{n}": other for n, other in enumerate(others)}
                path.append(f".{name}")
        name = draw(st.text("abcdef", min_size=1, max_size=4))
        return {name: nested}, f"{at}.{name}" + "".join(reversed(path))

    return draw_it()


@given(json_values)
@thorough
def test_a_json_value_is_copied_as_it_is(value):
    copied, problem = plain_or_problem(value, "c")

    assert problem is None
    assert copied == value
    assert orjson.loads(orjson.dumps(copied)) == value


@given(with_one(unsendable_scalars | st.builds(Unsendable, any_texts)))
@thorough
def test_what_json_can_not_carry_is_named_where_it_is(given_):
    configuration, place = given_
    error = refused(NewIntegration, name="x", integration_type="y", configuration=configuration)

    assert [problem.field for problem in error.problems] == [place]


@given(secrets.flatmap(lambda s: st.tuples(st.just(s), with_one(st.just(Unsendable(s)), json_of(st.just(s))))))
@quick
def test_what_is_refused_is_never_shown(given_):
    secret, (configuration, _) = given_
    error = refused(NewIntegration, name="x", integration_type="y", configuration=configuration)

    assert secret not in f"{error}{error!r}{error.problems}"


@given(st.dictionaries(any_texts | st.sampled_from(sorted(NEW_ATTRIBUTES)) | st.integers(), json_scalars, max_size=6))
@thorough
def test_from_mapping_makes_a_record_or_names_what_is_wrong(attributes):
    try:
        record = NewIntegration.from_mapping(attributes)
    except InvalidInputError as error:
        fields = [problem.field for problem in error.problems]
        assert fields
        assert len(fields) == len(set(fields))
        assert {str(name) for name in attributes if name not in NEW_ATTRIBUTES} <= set(fields)
    else:
        assert set(attributes) <= set(NEW_ATTRIBUTES)
        assert record.key
