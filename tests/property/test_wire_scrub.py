"""A secret that a server echoes is scrubbed, wherever it was put."""

from __future__ import annotations

import attrs
import orjson
from hypothesis import given
from hypothesis import strategies as st

from clarus_async.errors import ErrorDetail
from clarus_async.wire.error_bodies import read_error_body, secrets_in
from tests.support.strategies import json_objects, json_of, quick, secrets, texts


def scrub(details, hidden):
    """What is read of an answer that says these details."""
    return read_error_body(orjson.dumps({"errors": [attrs.asdict(detail) for detail in details]}), hidden)


@given(st.lists(secrets, min_size=1, max_size=4), st.data())
@quick
def test_no_echo_of_any_of_several_secrets_is_left(given_, data):
    configuration = data.draw(json_of(st.sampled_from(given_)).map(lambda value: {"a": value}))
    found = secrets_in(configuration)
    text = " ".join(data.draw(st.permutations(found)))
    (detail,) = scrub([ErrorDetail(details=text, context={"echo": configuration})], found)

    assert all(secret not in repr(attrs.asdict(detail)) for secret in found)


@given(secrets, st.lists(st.integers(1, 20), max_size=3))
@quick
def test_secrets_that_begin_alike_go_whole(secret, lengths):
    (detail,) = scrub([ErrorDetail(details=f"<{secret}>")], [secret, *(secret[:length] for length in lengths)])

    assert detail.details == "<***>"


words = st.none() | st.text("abc019", min_size=1, max_size=8)
harmless = st.builds(
    ErrorDetail, code=words, symbol=words, details=words, source=words, context=st.none() | json_objects
)


@given(st.lists(harmless, max_size=3), secrets)
@quick
def test_what_echoes_nothing_stays_as_it_is(details, secret):
    assert scrub(details, [secret]) == tuple(details)


@given(json_of(st.none() | st.booleans() | texts | st.integers(-999, 999)).map(lambda value: {"a": value}))
@quick
def test_every_text_of_a_configuration_that_is_long_enough_is_a_secret(configuration):
    def leaves(value):
        if isinstance(value, dict | list):
            for item in value.values() if isinstance(value, dict) else value:
                yield from leaves(item)
        elif isinstance(value, str) and len(value) >= 4:
            yield value

    assert set(leaves(configuration)) <= set(secrets_in(configuration))
