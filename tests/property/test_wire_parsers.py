"""Whatever a server or a proxy sends, no parser raises."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clarus_async.auth.rfc6749 import TokenAnswer, read_token
from clarus_async.errors import ErrorDetail
from clarus_async.resources.integrations import INTEGRATIONS, Integration
from clarus_async.wire.envelope import read_created
from clarus_async.wire.error_bodies import read_error_body
from clarus_async.wire.graphql import GraphQLAnswer, Page, only_reads, read_answer, read_page, searches_by
from clarus_async.wire.headers import http_date, request_id, retry_after
from clarus_async.wire.reading import Unreadable, parse
from tests.support.strategies import (
    answer_attributes,
    any_texts,
    json_objects,
    json_of,
    json_scalars,
    json_values,
    moments,
    quick,
    row_nodes,
    thorough,
)

# Objects made of the names that the parsers look for, so that they get past the first of them.
NAMES = (
    *("data", "id", "type", "attributes", "name", "integrations", "all", "edges", "node", "pageInfo", "hasNextPage"),
    *("endCursor", "errors", "error", "error_description", "code", "status", "symbol", "title", "details", "detail"),
    *("message", "source", "path", "pointer", "context", "extensions", "access_token", "token_type", "expires_in"),
    *("refresh_token", "configuration", "created_at", "__schema", "queryType", "types", "fields", "ofType", "args"),
)
texts = any_texts | st.sampled_from((*NAMES, "Query", "bearer", "2026-01-10T12:00:00Z"))
likely = st.recursive(
    json_scalars | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=20,
)
whole = (
    likely
    | json_values
    | answer_attributes.map(lambda a: {"data": {"id": 1, "attributes": a}})
    | row_nodes.map(lambda node: {"data": {"integrations": {"all": {"edges": [{"node": node}]}}}})
).map(orjson.dumps)
cut = st.tuples(whole, st.integers(0, 200)).map(lambda pair: pair[0][: pair[1]])
bodies = whole | cut | st.binary(max_size=200) | st.binary(max_size=50).map(lambda tail: b"<html><title>" + tail)


@pytest.mark.parametrize(
    ("read", "results"),
    [
        (partial(read_created, INTEGRATIONS), (Integration, Unreadable)),
        (read_answer, (GraphQLAnswer, Unreadable)),
        (read_token, (TokenAnswer, Unreadable)),
        (parse, object),
    ],
)
@given(body=bodies)
@thorough
def test_no_body_is_too_strange(read, results, body):
    assert isinstance(read(body), results)


@given(bodies)
@thorough
def test_no_error_body_is_too_strange(body):
    details = read_error_body(body)

    for detail in details:
        assert isinstance(detail, ErrorDetail)
        assert all(len(text) <= 520 for text in (detail.symbol, detail.details, detail.source) if text is not None)
        assert len(str(detail).splitlines()) <= 1


@given(likely.filter(lambda value: isinstance(value, dict)) | json_objects)
@thorough
def test_no_data_is_too_strange(data):
    assert isinstance(read_page(INTEGRATIONS.listing, data), Page | Unreadable)
    searches = searches_by(INTEGRATIONS.listing, "external_system_reference1", data)
    assert searches is False or isinstance(searches, Unreadable)


@given(st.text(max_size=60))
@thorough
def test_no_document_is_too_strange(document):
    assert only_reads(document) in {True, False}


DATE_PARTS = st.sampled_from([
    "Sat", "Sat,", ",", "10", "Jan", "2026", "26", "12:00:00", "12:00", "12.00.00", "99:99:99", "GMT", "+0000", "-0000",
    "+9999", "-9999", "EST", "ut", "0", "-1", "+", "-", ":", "::", "24:00:00", "99999999999999999999", "\u0661\u0660",
    "am", "(x)",
    "1-1-1", "10-Jan-26", "\t", "",
])  # fmt: skip
date_like = st.lists(DATE_PARTS, max_size=8).map(" ".join) | st.lists(DATE_PARTS, max_size=8).map("".join)
dates = moments.map(lambda moment: format_datetime(moment, usegmt=True))
number_like = st.text("0123456789.+-eE nainf_", max_size=24)
header_values = st.none() | st.text(max_size=80) | date_like | dates | number_like | st.floats().map(str)
now = st.datetimes(
    min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(UTC)  # noqa: DTZ001
)  # fmt: skip


@given(header_values)
@example("10 Jan 2026 12:00:00 +9999")
@thorough
def test_no_date_is_too_strange(value):
    moment = http_date(value)

    assert moment is None or moment.utcoffset() is not None


@given(header_values, header_values, now)
@thorough
def test_retry_after_is_a_finite_time_from_now_or_nothing(value, date, moment):
    seconds = retry_after(value, date, moment)

    assert seconds is None or (math.isfinite(seconds) and seconds >= 0)


@given(st.floats(0, 1e9), now)
@quick
def test_retry_after_in_seconds_is_what_was_said(seconds, moment):
    assert retry_after(f"{seconds:.3f}", None, moment) == pytest.approx(seconds, abs=1e-3)


@given(st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6))
@quick
def test_retry_after_as_a_date_does_not_depend_on_our_clock(seconds, skew):
    served = datetime(2026, 1, 10, 12, tzinfo=UTC)
    value, date = (format_datetime(moment, usegmt=True) for moment in (served + timedelta(seconds=seconds), served))

    assert retry_after(value, date, served + timedelta(seconds=skew)) == max(0, seconds)


@given(st.none() | st.text(max_size=200))
@quick
def test_a_request_id_fits_a_log_line(value):
    identifier = request_id(value)

    assert identifier is None or (identifier.isprintable() and 0 < len(identifier) <= 128)


@given(json_of(json_scalars))
@quick
def test_what_is_read_of_an_error_is_the_same_again(value):
    body = orjson.dumps({"errors": [value]})

    assert read_error_body(body) == read_error_body(body)
