"""Settings and options."""

import math
import re
from urllib.parse import urlsplit

import attrs
import pytest
from yarl import URL

from clarus_async.config import (
    DEFAULT_BASE_URL,
    PacingPolicy,
    RetryPolicy,
    Timeouts,
    base_url_problem,
    subdomain_problem,
)
from clarus_async.errors import InvalidInputError


def refused(make, **options):
    with pytest.raises(InvalidInputError) as caught:
        make(**options)
    return [problem.field for problem in caught.value.problems]


def test_the_timeouts_of_the_contract():
    assert attrs.astuple(Timeouts()) == (5.0, 30.0, 60.0, 120.0)


def test_the_retry_policy_of_the_contract():
    assert attrs.astuple(RetryPolicy()) == (4, 0.05, 20.0)


def test_the_pacing_policy_of_the_contract():
    assert attrs.astuple(PacingPolicy()) == (None, None, None, 300.0, "tenant")


@pytest.mark.parametrize("options", [Timeouts, RetryPolicy, PacingPolicy])
def test_options_are_keyword_only(options):
    with pytest.raises(TypeError):
        options(1.0)


@pytest.mark.parametrize("options", [Timeouts(), RetryPolicy(), PacingPolicy()])
def test_options_are_frozen(options):
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(options, attrs.fields(type(options))[0].name, 1)


SECONDS = [(Timeouts, name) for name in ("connect", "attempt", "settle", "deadline")]
SECONDS += [(RetryPolicy, "base"), (RetryPolicy, "cap"), (PacingPolicy, "max_wait")]
seconds = pytest.mark.parametrize(("options", "field"), SECONDS)


@seconds
@pytest.mark.parametrize("value", [0, -1, 0.0, math.nan, math.inf, -math.inf, True, "5", None, 1j])
def test_a_time_is_a_finite_number_above_0(options, field, value):
    assert refused(options, **{field: value}) == [field]


@seconds
def test_an_integer_that_no_float_holds_is_refused(options, field):
    assert refused(options, **{field: 10**400}) == [field]


@pytest.mark.parametrize("value", [1, 0.5, 60])
def test_a_time_is_an_integer_or_a_float(value):
    assert Timeouts(connect=value).connect == value


def test_settle_is_never_under_attempt():
    assert refused(Timeouts, attempt=61.0) == ["settle"]
    assert Timeouts(attempt=60.0).settle == 60.0


def test_every_wrong_time_is_named_at_once():
    assert refused(Timeouts, connect=0, attempt="x", settle=None, deadline=-1) == [
        "connect", "attempt", "settle", "deadline"
    ]  # fmt: skip


@pytest.mark.parametrize("value", [0, -1, 101, 1.0, True, "4", None])
def test_attempts_are_an_integer_from_1_to_100(value):
    assert refused(RetryPolicy, max_attempts=value) == ["max_attempts"]


@pytest.mark.parametrize("value", [1, 100])
def test_attempts_at_the_edges(value):
    assert RetryPolicy(max_attempts=value).max_attempts == value


rates = pytest.mark.parametrize("field", ["rate", "start"])


@rates
@pytest.mark.parametrize("value", [None, 1, 0.001, 2.5, 10_000])
def test_a_rate_is_a_number_above_0_or_left_out(field, value):
    assert getattr(PacingPolicy(**{field: value}), field) == value


@rates
@pytest.mark.parametrize("value", [0, -1, 0.0, -0.5, math.nan, math.inf, -math.inf, True, False, "5", 1j, 10**400])
def test_nothing_else_is_a_rate(field, value):
    assert refused(PacingPolicy, **{field: value}) == [field]


@pytest.mark.parametrize("value", [None, 1, 5, 1_000_000])
def test_a_burst_is_an_integer_from_1_to_a_million_or_left_out(value):
    assert PacingPolicy(rate=2.0, burst=value).burst == value


@pytest.mark.parametrize("value", [0, -1, 1_000_001, 10**400, 1.0, 0.5, math.nan, math.inf, True, False, "5", 1j])
def test_nothing_else_is_a_burst(value):
    assert refused(PacingPolicy, rate=2.0, burst=value) == ["burst"]


def test_a_burst_goes_with_a_rate_only():
    assert refused(PacingPolicy, burst=5) == ["burst"]
    assert refused(PacingPolicy, burst=5, start=2.0) == ["burst"]
    assert PacingPolicy(rate=2.0, burst=5).rate == 2.0


def test_a_start_goes_without_a_rate_only():
    assert refused(PacingPolicy, rate=2.0, start=2.0) == ["start"]
    assert PacingPolicy(start=2.0).rate is None


@pytest.mark.parametrize("scope", ["tenant", "client"])
def test_a_quota_is_of_a_tenant_or_of_the_client(scope):
    assert PacingPolicy(scope=scope).scope == scope


@pytest.mark.parametrize("scope", ["", "Tenant", "tenants", "client ", b"client", None, True, 0, ["tenant"], {}])
def test_nothing_else_has_a_quota(scope):
    assert refused(PacingPolicy, scope=scope) == ["scope"]


def test_everything_wrong_with_a_pace_is_named_at_once():
    assert refused(PacingPolicy, rate=0, burst=0, start=1.0, max_wait=0, scope="all") == [
        "rate", "burst", "start", "max_wait", "scope"
    ]  # fmt: skip
    assert refused(PacingPolicy, burst="5", start="x", max_wait=None) == ["burst", "start", "max_wait"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rate": True}, "rate: must be a number of requests a second, not bool"),
        ({"rate": "5"}, "rate: must be a number of requests a second, not str"),
        ({"start": math.inf}, "start: must be a finite number of requests a second above 0"),
        ({"rate": 1, "burst": 0}, "burst: must be an integer from 1 to 1,000,000"),
        ({"rate": 1, "burst": 1_000_001}, "burst: must be an integer from 1 to 1,000,000"),
        ({"burst": 5}, "burst: goes with rate only"),
        ({"rate": 1, "start": 1}, "start: goes without rate only"),
        ({"max_wait": 0}, "max_wait: must be a finite number of seconds above 0"),
        ({"scope": "all"}, 'scope: must be "tenant" or "client"'),
    ],
)
def test_what_is_wrong_with_a_pace_is_said(options, words):
    with pytest.raises(InvalidInputError, match=re.escape(words)):
        PacingPolicy(**options)


@pytest.mark.parametrize("subdomain", ["a", "acme", "a-b", "a1", "1", "0-0", "a" * 63, "xn--bcher-kva"])
def test_one_dns_label_names_a_tenant(subdomain):
    assert subdomain_problem(subdomain) is None


@pytest.mark.parametrize(
    "subdomain",
    [
        *("", " ", "a\n", "\na", "a\r\nX-Evil: 1", "a\n\n", "a\x00", "a b"),
        *("ACME", "Acme", "a_b", "a.b", "a/b", "ä", "\uff41", "-a", "a-", "-", "a" * 64),
        *(None, 1, b"acme", ["acme"]),
    ],
)
def test_nothing_else_names_a_tenant(subdomain):
    assert "one DNS label" in subdomain_problem(subdomain)


@pytest.mark.parametrize(
    "url",
    [
        DEFAULT_BASE_URL,
        "https://clarus-api.com/",
        "https://clarus-api.com/v2",
        "https://clarus-api.com:8443",
        "HTTPS://CLARUS-API.COM",
        "https://192.0.2.1",
        "https://[2001:db8::1]:8443/x",
        "http://localhost",
        "http://localhost:8080",
        "http://LOCALHOST:8080",
        "http://127.0.0.1:8080",
        "http://[::1]:8080",
        "http://[::1]",
    ],
)
def test_a_base_url(url):
    assert base_url_problem(url) is None


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://user@clarus-api.com", "no user name or password"),
        ("https://user:canary@clarus-api.com", "no user name or password"),
        ("https://:canary@clarus-api.com", "no user name or password"),
        ("http://[::1]@clarus-api.com", "no user name or password"),
        ("https://clarus-api.com?", "no query and no fragment"),
        ("https://clarus-api.com?a=canary", "no query and no fragment"),
        ("https://clarus-api.com/#", "no query and no fragment"),
        ("https://clarus-api.com#canary", "no query and no fragment"),
        ("http://clarus-api.com", "use https"),
        ("http://localhost.evil.com", "use https"),
        ("http://127.0.0.1.evil.com", "use https"),
        ("http://[::2]", "use https"),
        ("HTTP://clarus-api.com", "use https"),
        ("https://clarus-api.com/a b", "without spaces"),
        (" https://clarus-api.com", "without spaces"),
        ("https://clarus-api.com\n", "without spaces"),
        ("https://clarus-api.com\r\nX-Evil: 1", "without spaces"),
        ("ht\ttps://clarus-api.com", "without spaces"),
        ("https://evil.com\\@clarus-api.com", "without spaces"),
        ("https:\\\\clarus-api.com", "without spaces"),
        ("https://bücher.example", "ASCII"),
        ("https://clarus-api.com:port", "malformed"),
        ("https://clarus-api.com:65536", "malformed"),
        ("https://clarus-api.com:-1", "malformed"),
        ("https://[::1", "malformed"),
        ("https://[canary]", "malformed"),
        ("clarus-api.com", "absolute https URL"),
        ("//clarus-api.com", "absolute https URL"),
        ("https:clarus-api.com", "absolute https URL"),
        ("https://", "absolute https URL"),
        ("https:///path", "absolute https URL"),
        ("https://:443", "absolute https URL"),
        ("ftp://clarus-api.com", "absolute https URL"),
        ("file:///etc/passwd", "absolute https URL"),
        ("", "absolute https URL"),
        (None, "absolute https URL"),
        (b"https://clarus-api.com", "absolute https URL"),
    ],
)
def test_what_is_no_base_url_and_why(url, words):
    problem = base_url_problem(url)

    assert words in problem
    assert "canary" not in problem


def test_plain_http_elsewhere_only_where_it_is_allowed():
    assert base_url_problem("http://clarus.internal:8080", allow_http=True) is None


@pytest.mark.parametrize("url", ["http://user@clarus.internal", "http://clarus.internal?a=1", "ftp://clarus.internal"])
def test_allowing_http_allows_nothing_else(url):
    assert base_url_problem(url, allow_http=True) is not None


@pytest.mark.parametrize("url", ["http://[::1]evil.com", "http://evil.com[::1]", "https://[::1]evil.com:1"])
def test_text_beside_the_brackets_of_an_address_is_malformed(url):
    assert base_url_problem(url) is not None


@pytest.mark.parametrize("url", ["https://clarus-api.com:8443/v2", "http://[::1]:80", "https://host:"])
def test_what_passes_is_read_by_yarl_as_it_was_by_urllib(url):
    assert base_url_problem(url) is None
    assert URL(url + "/api", encoded=True).host == urlsplit(url).hostname
