"""What a server or a proxy sends: headers, tokens, documents, errors."""

from __future__ import annotations

import json
import math
import pickle
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qsl

import graphql
import orjson
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from clarus_async.auth.rfc6749 import read_token, token_form
from clarus_async.auth.token import life
from clarus_async.credentials import bearer_problem
from clarus_async.errors import ErrorDetail, GraphQLError
from clarus_async.ratelimit.headers import read_rate_limit
from clarus_async.resources.integrations import (
    INTEGRATIONS,
    Integration,
    IntegrationChanges,
    IntegrationRow,
    NewIntegration,
)
from clarus_async.wire.envelope import changes_body, create_body, read_changed, read_created
from clarus_async.wire.error_bodies import read_error_body
from clarus_async.wire.graphql import GraphQLAnswer, Page, only_reads, read_answer, read_page, searches_by
from clarus_async.wire.headers import http_date, request_id, retry_after
from clarus_async.wire.reading import Unreadable, unstructure
from clarus_async.wire.refusals import (
    concerns_rows,
    not_executed,
    refuses_document,
    refuses_introspection,
    refuses_size,
)
from tests.fuzz.engine import Target
from tests.fuzz.fitting import assert_fits
from tests.fuzz.mutation import TOKENS, nested, spoilt
from tests.property.test_wire_only_reads import documents, fragments, operations, selections, writes
from tests.support.strategies import (
    HERE,
    answer_attributes,
    any_texts,
    change_attributes,
    error_details,
    holding,
    json_of,
    json_scalars,
    json_values,
    moments,
    new_attributes,
    row_nodes,
)

NOW = datetime(2026, 1, 10, 12, tzinfo=UTC)


def moment_of(seconds: int) -> datetime:
    return NOW + timedelta(seconds=seconds)


clocks = st.integers(-63_000_000_000, 250_000_000_000)

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


# --- headers


def check_headers(given: tuple[str | None, str | None, int]) -> None:
    value, date, clock = given
    moment = http_date(value)
    assert moment is None or (type(moment) is datetime and moment.utcoffset() is not None)
    seconds = retry_after(value, date, moment_of(clock))
    assert seconds is None or (type(seconds) is float and math.isfinite(seconds) and seconds >= 0)
    if moment is not None and moment.year > 1 and moment.year < 9999:
        # What we print is read back, to the second.
        again = http_date(format_datetime(moment.astimezone(UTC), usegmt=True))
        assert again == moment.astimezone(UTC).replace(microsecond=0)
    identifier = request_id(value)
    assert identifier is None or (identifier.isprintable() and 0 < len(identifier) <= 128)


def in_range(told):
    return (
        (told.limit is None or 1 <= told.limit <= 10**9)
        and (told.window is None or (told.limit is not None and 0 < told.window <= 3600))
        and (told.remaining is None or 0 <= told.remaining <= 10**9)
        and (told.reset is None or 0 <= told.reset <= 3600)
    )


def check_rate_limit(given: tuple[list[tuple[str, str]], str | None, int]) -> None:
    pairs, date, clock = given
    for headers in (dict(pairs), CIMultiDictProxy(CIMultiDict(pairs))):
        told = read_rate_limit(headers, date, moment_of(clock))
        if told is not None:
            assert_fits(told)
            assert in_range(told)
            assert told != (None,) * 4


_DATE_PARTS = st.sampled_from([
    "Sat", "Sat,", ",", "10", "Jan", "2026", "26", "12:00:00", "12:00", "12.00.00", "99:99:99", "GMT", "+0000", "-0000",
    "+9999", "-9999", "EST", "ut", "0", "-1", "+", "-", ":", "::", "24:00:00", "99999999999999999999", "\u0661\u0660",
    "am", "(x)",
    "1-1-1", "10-Jan-26", "\t", "",
])  # fmt: skip
_date_like = st.lists(_DATE_PARTS, max_size=8).map(" ".join) | st.lists(_DATE_PARTS, max_size=8).map("".join)
_dates = moments.map(lambda moment: format_datetime(moment, usegmt=True))
_number_like = st.text("0123456789.+-eE nainf_", max_size=24)
_header_values = st.none() | st.text(max_size=80) | _date_like | _dates | _number_like | st.floats().map(str)
_LIMIT_NAMES = (
    *("RateLimit", "RateLimit-Policy", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"),
    *("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"),
    *("X-Rate-Limit-Limit", "X-Rate-Limit-Remaining", "X-Rate-Limit-Reset"),
)
_PIECES = st.sampled_from([
    '"', "\\", ",", ";", "=", "a", '"a"', "q=", "w=", "r=", "t=", "qu=", "limit=", "remaining=", "reset=", "-", ".",
    " ", "0", "1", "60", "86400", "1768042800", "1768042800000", "9" * 400, "\u0661", "\n", "\udc80", ":", "requests",
])  # fmt: skip
_header_texts = (
    st.text(max_size=60)
    | st.lists(_PIECES, max_size=20).map("".join)
    | _dates
    | st.floats().map(str)
    | st.integers().map(str)
)
_any_headers = st.lists(st.tuples(st.sampled_from(_LIMIT_NAMES), _header_texts), max_size=8)
_header_bytes = st.text(st.characters(max_codepoint=255), max_size=2000)
_lines = _header_texts | _header_bytes | spoilt(
    st.sampled_from([
        b'"burst";q=100;w=60,"daily";q=1000;w=86400', b'"burst";r=50;t=30', b"limit=100, remaining=50, reset=30",
        b"100, 100;w=60, 1000;w=3600", b"1768042800", b"Sat, 10 Jan 2026 12:00:00 GMT", b"1768042800000.5",
    ])
).map(lambda text: text.decode("latin-1"))  # fmt: skip
_values = _header_values | spoilt(
    st.sampled_from(
        [
            b"Sat, 10 Jan 2026 12:00:00 GMT",
            b"Saturday, 10-Jan-26 12:00:00 GMT",
            b"10 Jan 2026 12:00:00 +9999",
            b"120",
            b"0.5",
        ]
    )
    | moments.map(lambda moment: format_datetime(moment, usegmt=True).encode())
).map(lambda text: text.decode("latin-1"))
_names = st.sampled_from(_LIMIT_NAMES)


# --- tokens


def check_token(body: bytes) -> None:
    token = read_token(body)
    if isinstance(token, Unreadable):
        assert_fits(token)
        return
    assert_fits(token)
    assert bearer_problem(token.access_token) is None
    assert 1.0 <= life(token.expires_in) <= 86_400.0
    assert token.refresh_token != ""
    assert len(token.access_token) < 20 or token.access_token not in repr(token)
    # A refresh token goes back as it came, unless it is text that no form can hold.
    if token.refresh_token is not None:
        form = {"refresh_token": token.refresh_token}
        assert dict(parse_qsl(token_form(form).decode())) == form


_tokens = (
    st.fixed_dictionaries(
        {"access_token": st.text("abcXYZ0189-._~+/", min_size=1, max_size=40)},
        optional={
            "token_type": st.sampled_from(["bearer", "Bearer", "BEARER", "mac"]) | json_values,
            "expires_in": st.integers()
            | st.floats()
            | json_values
            | st.sampled_from(["3600", "nan", "inf", "1_0", "-1"]),
            "refresh_token": st.text(max_size=20).filter(str.isprintable) | json_values,
        },
    )
    .map(json.dumps)
    .map(str.encode)
)


# --- documents


def check_envelope(body: bytes) -> None:
    read = read_created(INTEGRATIONS, body)
    assert_fits(read)
    if isinstance(read, Unreadable):
        assert read_changed(INTEGRATIONS, body, 7, IntegrationChanges(string1="x")).id == 7
        return
    assert isinstance(read, Integration)
    for secret in ("extra", "configuration"):
        assert isinstance(getattr(read, secret) or {}, dict)
    told = read_changed(INTEGRATIONS, body, 7, IntegrationChanges(string1="x"))
    assert (told.id, told.extra) == (read.id, read.extra)
    # What we would print of it is read back as it was.
    attributes = {name: getattr(read, name) for name in _ATTRIBUTES if getattr(read, name) is not None}
    again = read_created(
        INTEGRATIONS, orjson.dumps({"data": {"id": read.id, "attributes": attributes | dict(read.extra)}})
    )
    # The same, and of the same types.
    assert repr(again) == repr(read)


_ATTRIBUTES = [name for name in Integration.__annotations__ if name not in {"id", "extra"}]


def check_sent(given: tuple[dict[str, Any], dict[str, Any]]) -> None:
    new, changes = NewIntegration(**given[0]), IntegrationChanges(**given[1])
    sent = orjson.loads(create_body(INTEGRATIONS, new))["data"]["attributes"]
    assert NewIntegration.from_mapping(sent) == new
    assert unstructure(NewIntegration.from_mapping(sent)) == sent
    sent = orjson.loads(changes_body(INTEGRATIONS, 7, changes))["data"]["attributes"]
    assert IntegrationChanges(**sent) == changes


def check_graphql(body: bytes) -> None:
    answer = read_answer(body)
    if isinstance(answer, Unreadable):
        assert_fits(answer)
        return
    assert isinstance(answer, GraphQLAnswer)
    assert answer.data is None or isinstance(answer.data, dict)
    assert all(isinstance(error, ErrorDetail) for error in answer.errors)
    if answer.data is not None:
        page = read_page(INTEGRATIONS.listing, answer.data)
        assert_fits(page)
        if isinstance(page, Page):
            for row in page.rows:
                assert isinstance(row, IntegrationRow)
                assert_fits(row)
                assert row.created_at is None or row.created_at.utcoffset() is not None
            assert all(isinstance(unreadable, Unreadable) for unreadable in page.unreadable)
        assert isinstance(
            searches_by(INTEGRATIONS.listing, "external_system_reference1", answer.data), bool | Unreadable
        )


_pages = st.builds(
    lambda nodes, info, errors: {
        "data": {"integrations": {"all": {"edges": [{"node": node} for node in nodes], "pageInfo": info}}}, **errors
    },
    st.lists(row_nodes, max_size=3),
    st.fixed_dictionaries({"hasNextPage": st.booleans(), "endCursor": st.none() | st.text(max_size=5)}) | json_values,
    st.just({}) | st.fixed_dictionaries({"errors": json_values}),
)  # fmt: skip
_schema = st.just({
    "data": {"__schema": {"queryType": {"name": "Q"}, "types": [
        {"name": "Q", "fields": [{"name": "integrations", "type": {"name": None, "ofType": {"name": "I"}}}]},
        {"name": "I", "fields": [
            {"name": "all", "type": {"name": "C"}, "args": [{"name": "filter", "type": {"name": "F"}}]},
        ]},
        {"name": "C", "fields": [{"name": "edges", "type": {"name": "E"}}]},
        {"name": "E", "fields": [{"name": "node", "type": {"name": "N"}}]},
        {"name": "N", "fields": [{"name": "external_system_reference1", "type": {"name": "String"}}]},
        {"name": "F", "inputFields": [{"name": "external_system_reference1", "type": {"name": "S"}}]},
        {"name": "S", "inputFields": [{"name": "eq", "type": {"name": "X"}}, {"name": "in", "type": {"name": "X"}}]},
    ]}}
})  # fmt: skip
_printed = [
    answer.map(orjson.dumps)
    for answer in (_pages, _schema, likely, st.fixed_dictionaries({"data": likely | st.dictionaries(texts, likely)}))
]
_answers = answer_attributes.map(lambda attributes: orjson.dumps({"data": {"id": 1, "attributes": attributes}}))


# --- errors


def check_faults(given: tuple[str, bytes]) -> None:
    secret, body = given
    details = read_error_body(body, [secret])
    assert details == read_error_body(body, [secret])
    # The same text as a challenge.
    challenged = read_error_body(b"", [secret], body.decode("latin-1"))
    assert secret not in repr(challenged)
    assert len(challenged) <= 1
    assert isinstance(not_executed({"errors": []}, details), bool)
    for refuses in (refuses_document, refuses_size, refuses_introspection, concerns_rows):
        assert isinstance(refuses(GraphQLError("x", errors=details)), bool)
    assert len(details) <= 20
    for detail in details:
        assert_fits(detail)
        assert len(str(detail).splitlines()) <= 1
        for text in (detail.symbol, detail.details, detail.source):
            assert text is None or (len(text) <= 520 and text.isprintable())
    assert secret not in repr(details)
    assert pickle.loads(pickle.dumps(details)) == details


_here = st.sampled_from([HERE, f"a {HERE} b", f'"{HERE}"', "bad", ""])
_entry = st.dictionaries(
    st.sampled_from([
        "code", "symbol", "details", "detail", "title", "message", "source", "context", "path", "extensions", "type",
        "error", "fault", "faultstring", "errors", "status", "instance", "loc", "msg", "reason", "name",
        "invalid-params",
    ]),
    _here | likely | json_of(_here) | st.dictionaries(_here, _here, max_size=2), max_size=4,
)  # fmt: skip
_wrong = (
    st.fixed_dictionaries({"errors": st.lists(_entry | _here, max_size=25) | st.dictionaries(_here, _here) | _here})
    | st.fixed_dictionaries({"error": _here | _entry}, optional={"error_description": _here})
    | _entry
    | st.dictionaries(_here, st.lists(_here, max_size=2), max_size=3)
    | st.fixed_dictionaries({"message": _entry.map(orjson.dumps).map(bytes.decode)})
    | error_details.map(lambda detail: {"errors": [{"code": detail.code, "details": detail.details}]})
    | st.lists(_here, max_size=3)
)


def _echoed(pair: tuple[str, Any], changes: bytes) -> tuple[str, bytes]:
    return pair[0], orjson.dumps(pair[1]) + changes


_html = holding(_here.map("<html><title>{0}</title>{0}".format)).map(lambda pair: (pair[0], pair[1].encode()))
_echoes = _html | st.builds(_echoed, holding(_wrong), st.sampled_from([b"", b" ", b"]", b"<"]))
_without = st.tuples(st.just("$3cr-NOWHERE1"), spoilt(_wrong.map(orjson.dumps)) | nested | bodies)


# --- documents that write


def check_only_reads(document: str) -> None:
    verdict = only_reads(document)
    assert verdict in {True, False}
    try:
        harmful = writes(document)
    except (graphql.GraphQLError, RecursionError):
        return  # a server refuses it as a whole
    assert not (harmful and verdict)


_spoilt_documents = spoilt(documents(operations, fragments, selections).map(str.encode)).map(
    lambda text: text.decode(errors="replace")
)
_token_texts = st.lists(st.sampled_from([token.decode("latin-1") for token in TOKENS]), max_size=12).map("".join)

TARGETS = (
    Target("headers", st.tuples(_values, st.none() | _values, clocks), check_headers),
    Target(
        "ratelimit",
        st.tuples(_any_headers | st.lists(st.tuples(_names, _lines), max_size=6), st.none() | _values, clocks),
        check_rate_limit,
    ),
    Target("oauth", spoilt(_tokens) | bodies | nested, check_token),
    Target("envelope", spoilt(_answers) | bodies | nested, check_envelope),
    Target("sent", st.tuples(new_attributes, change_attributes), check_sent),
    Target("graphql", spoilt(st.one_of(_printed)) | bodies | nested, check_graphql),
    Target("faults", _echoes | _without, check_faults),
    Target("only_reads", _spoilt_documents | _token_texts | st.text(max_size=300), check_only_reads),
)
