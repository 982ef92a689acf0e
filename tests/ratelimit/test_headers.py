"""What answer headers say of the rate limit."""

from datetime import UTC, datetime

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from clarus_async.ratelimit.headers import RateLimitHeaders, read_rate_limit

NOW = datetime(2026, 1, 10, 12, 0, 0, tzinfo=UTC)
DATE = "Sat, 10 Jan 2026 11:00:00 GMT"  # the server's clock is an hour behind ours
SERVED = 1768042800  # the same moment


def told(date=DATE, **headers):
    return read_rate_limit({name.replace("_", "-"): text for name, text in headers.items()}, date, NOW)


def answer(*pairs):
    return CIMultiDictProxy(CIMultiDict(pairs))


ORDINARY = (
    ("Date", DATE),
    ("Content-Type", "application/json"),
    ("Content-Length", "2"),
    ("Connection", "keep-alive"),
    ("Server", "nginx"),
    ("X-Request-Id", "abc-123"),
    ("Cache-Control", "no-store"),
    ("ETag", 'W/"1"'),
)


def test_most_answers_say_nothing():
    assert read_rate_limit(answer(*ORDINARY), DATE, NOW) is None
    assert read_rate_limit({}, None, NOW) is None


def test_a_limit_that_is_told_in_a_way_of_ones_own_is_not_read():
    assert read_rate_limit(answer(*ORDINARY, ("X-Shopify-Shop-Api-Call-Limit", "32/40")), DATE, NOW) is None


# The current draft.


@pytest.mark.parametrize(
    ("policy", "state", "expected"),
    [
        ('"burst";q=100;w=60,"daily";q=1000;w=86400', '"default";r=50;t=30', RateLimitHeaders(1000, 3600.0, 50, 30.0)),
        ('"default";q=100;w=10', '"default";r=50;t=5', RateLimitHeaders(100, 10.0, 50, 5.0)),
        (
            '"permin";q=50;w=60,"perhr";q=1000;w=3600',
            '"permin";r=0;t=7, "perhr";r=9;t=8',
            RateLimitHeaders(1000, 3600.0, 9, 8.0),
        ),
        (
            '"peruser";q=100;w=60;pk=:cHsdsRa894==:',
            '"peruser";r=50;t=30;pk=:cHsdsRa894==:',
            RateLimitHeaders(100, 60.0, 50, 30.0),
        ),
        ('"default";q=100;w=10;qu="requests"', "default;r=50", RateLimitHeaders(100, 10.0, 50, None)),
        ("default;q=100;w=10;qu=requests", '"default";t=50', RateLimitHeaders(100, 10.0, None, 50.0)),
        ('"default";q=100', '"default";r=50;t=30', RateLimitHeaders(100, None, 50, 30.0)),
        ('"no window";q=5, "window";q=100;w=10', "", RateLimitHeaders(100, 10.0, None, None)),
        ('"a;q=1,\\"b";q=100;w=10', '"c";r=1, "a;q=1,\\"b";r=2', RateLimitHeaders(100, 10.0, 2, None)),
        ('"";q=100;w=10', '"x";r=1, "";r=2', RateLimitHeaders(100, 10.0, 2, None)),
        (' "a" ; q=1 ; q=100;w=10 ,, ;q=5;w=99', "a;r=1;r=2", RateLimitHeaders(100, 10.0, 2, None)),
        ("", '"default";r=50;t=30', RateLimitHeaders(None, None, 50, 30.0)),
        ("", '"a";r=50;t=30, "b";r=40;t=20', None),
    ],
)
def test_policies_and_what_is_left_of_them(policy, state, expected):
    assert told(RateLimit_Policy=policy, RateLimit=state) == expected


def test_which_policy_is_told_by_its_rate_as_it_was_said():
    # Cut to an hour, the day's would be the faster.
    assert told(RateLimit_Policy='"day";q=24000;w=86400, "minute";q=100;w=60').limit == 24000


def test_of_several_items_none_is_taken_that_the_policy_does_not_name():
    assert told(RateLimit_Policy="a;q=10;w=1", RateLimit="b;r=5;t=6, c;r=7;t=8") == RateLimitHeaders(
        10, 1.0, None, None
    )


@pytest.mark.parametrize("unit", ['"content-bytes"', "concurrent-requests", '"Requests"', ""])
def test_a_quota_of_something_else_is_not_ours(unit):
    policy = f'"bytes";q=10;w=60;qu={unit}'

    assert told(RateLimit_Policy=policy, RateLimit='"bytes";r=5;t=6') is None
    assert told(RateLimit_Policy=f"{policy}, a;q=9;w=1", RateLimit="bytes;r=5;t=6, b;r=7") == RateLimitHeaders(
        9, 1.0, 7, None
    )


def test_a_list_may_come_in_several_lines():
    headers = answer(
        ("ratelimit-policy", '"burst";q=100;w=60'),
        ("ratelimit-policy", '"hourly";q=1000;w=3600'),
        ("ratelimit", '"burst";r=9;t=1'),
        ("ratelimit", '"hourly";r=50;t=30'),
    )

    assert read_rate_limit(headers, DATE, NOW) == RateLimitHeaders(1000, 3600.0, 50, 30.0)


# Its earlier forms.


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"RateLimit": "limit=100, remaining=50, reset=5"}, RateLimitHeaders(100, None, 50, 5.0)),
        (
            {"RateLimit": "limit=100, remaining=50, reset=5", "RateLimit-Policy": "100;w=60"},
            RateLimitHeaders(100, 60.0, 50, 5.0),
        ),
        (
            {"RateLimit": "limit=10, remaining=4, reset=4", "RateLimit-Policy": "10;w=10, 50;w=60"},
            RateLimitHeaders(10, 10.0, 4, 4.0),
        ),
        (
            {"RateLimit-Limit": "100, 100;w=10", "RateLimit-Remaining": "50", "RateLimit-Reset": "50"},
            RateLimitHeaders(100, 10.0, 50, 50.0),
        ),
        ({"RateLimit-Limit": "10, 10;w=1, 50;w=60, 1000;w=3600, 5000;w=86400"}, RateLimitHeaders(10, 1.0, None, None)),
        (
            {"RateLimit-Limit": '10, 10;w=1;burst=1000, 1000;w=3600;comment="a, b;w=9"'},
            RateLimitHeaders(10, 1.0, None, None),
        ),
        ({"RateLimit-Limit": "100;w=60"}, RateLimitHeaders(100, 60.0, None, None)),
        ({"RateLimit-Limit": "100, 5000;w=60"}, RateLimitHeaders(100, 60.0, None, None)),
        ({"RateLimit-Limit": "100, 50;w=60, 5000;w=60"}, RateLimitHeaders(100, None, None, None)),
        ({"RateLimit-Limit": "100, 50, 5000;w=60"}, RateLimitHeaders(100, 60.0, None, None)),
        (
            {"RateLimit-Limit": "100", "RateLimit-Policy": "100;w=60, 1000;w=3600"},
            RateLimitHeaders(100, 60.0, None, None),
        ),
        ({"RateLimit-Limit": "many, 100;w=60"}, RateLimitHeaders(100, 60.0, None, None)),
        ({"RateLimit-Policy": "100;w=60, 1000;w=3600"}, RateLimitHeaders(1000, 3600.0, None, None)),
        ({"RateLimit-Policy": "100;w=60, 10;w=3600;qu=bytes"}, RateLimitHeaders(100, 60.0, None, None)),
        ({"RateLimit-Policy": "100"}, RateLimitHeaders(100, None, None, None)),
        # GitLab's reset is a Unix time.
        (
            {"RateLimit-Limit": "60", "RateLimit-Remaining": "67", "RateLimit-Reset": f"{SERVED + 15}"},
            RateLimitHeaders(60, None, 67, 15.0),
        ),
    ],
)
def test_earlier_drafts(headers, expected):
    assert read_rate_limit(headers, DATE, NOW) == expected


# What was there before any draft.


@pytest.mark.parametrize("prefix", ["x-ratelimit", "x-rate-limit"])  # GitHub, Twitter
def test_the_headers_that_came_before_any_draft(prefix):
    headers = answer(
        *ORDINARY,
        (f"{prefix}-limit", "5000"),
        (f"{prefix}-remaining", "4999"),
        (f"{prefix}-reset", f"{SERVED + 1800}"),
        (f"{prefix}-used", "1"),
    )

    assert read_rate_limit(headers, DATE, NOW) == RateLimitHeaders(5000, None, 4999, 1800.0)


def test_one_that_tells_its_policies_too():
    assert told(X_RateLimit_Limit="100, 100;w=60", X_RateLimit_Remaining="3") == RateLimitHeaders(100, 60.0, 3, None)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 30.0),
        (" 30 ", 30.0),
        ("0.25", 0.25),
        ("5.", 5.0),
        ("0", 0.0),
        ("-1", 0.0),
        ("3601", 3600.0),
        ("320000000", 3600.0),
        (f"{SERVED + 30}", 30.0),
        (f"{SERVED + 30}.25", 30.25),
        (f"{SERVED + 30}250", 30.25),
        (f"{SERVED - 30}", 0.0),
        ("320000001", 0.0),
        (f"{SERVED + 7200}", 3600.0),
        ("Sat, 10 Jan 2026 11:00:30 GMT", 30.0),
        ("Sat, 10 Jan 2026 10:00:00 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3600.0),
        ("9" * 1024, 3600.0),
    ],
)
def test_a_reset_is_told_in_many_ways(text, seconds):
    assert told(X_RateLimit_Reset=text) == RateLimitHeaders(None, None, None, pytest.approx(seconds))
    assert told(X_Rate_Limit_Reset=text) == RateLimitHeaders(None, None, None, pytest.approx(seconds))


@pytest.mark.parametrize("date", [None, "", "nonsense"])
def test_a_moment_is_measured_against_our_clock_where_the_server_shows_none(date):
    assert told(date, X_RateLimit_Reset=f"{SERVED + 3630}").reset == 30.0
    assert told(date, X_RateLimit_Reset="Sat, 10 Jan 2026 12:00:30 GMT").reset == 30.0


# Several families in one answer.


def test_a_later_family_fills_what_is_open():
    assert told(
        RateLimit_Policy="a;q=9;w=3",
        RateLimit="a;r=8",
        RateLimit_Limit="100, 100;w=60",
        RateLimit_Remaining="50",
        X_RateLimit_Reset="7",
        X_Rate_Limit_Reset="6",
    ) == RateLimitHeaders(9, 3.0, 8, 7.0)


def test_a_limit_keeps_away_from_the_window_of_another_family():
    assert told(RateLimit_Policy="a;q=9", X_RateLimit_Limit="9;w=60") == RateLimitHeaders(9, None, None, None)


# What is wrong.


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        ",",
        ";",
        "-",
        "many",
        "+5",
        "1e3",
        "0x10",
        "1_0",
        "5 s",
        "nan",
        "inf",
        "٣",
        "²",
        '"5',
        "5\\",
        "5:",
        "1.2.3",
    ],
)
def test_what_is_no_number_is_left_out_by_itself(text):
    state = {"RateLimit_Remaining": "5", "RateLimit_Reset": "6"}

    assert told(RateLimit_Limit=text, **state) == RateLimitHeaders(None, None, 5, 6.0)
    assert told(RateLimit_Limit="9", **{**state, "RateLimit_Remaining": text}) == RateLimitHeaders(9, None, None, 6.0)
    assert told(RateLimit_Limit="9", **{**state, "RateLimit_Reset": text}) == RateLimitHeaders(9, None, 5, None)
    assert told(RateLimit_Policy=f"a;q=9;w={text}", RateLimit="a;r=5;t=6") == RateLimitHeaders(9, None, 5, 6.0)
    assert told(RateLimit_Policy=f"a;q={text};w=9", RateLimit=f"a;t=6;r={text}") == RateLimitHeaders(
        None, None, None, 6.0
    )


@pytest.mark.parametrize("text", ["9.5", "60.0", "1,5;w=", '"5"'])
def test_a_fraction_or_a_list_is_no_count(text):
    assert told(X_RateLimit_Remaining=text) is None


@pytest.mark.parametrize("text", ["0", "-0", "-1", "-" + "9" * 1000])
def test_no_limit_and_no_window_is_nothing(text):
    assert told(X_RateLimit_Limit=text) is None
    assert told(RateLimit_Policy=f"a;q={text};w=60") is None
    assert told(RateLimit_Policy=f"a;q=9;w={text}") == RateLimitHeaders(9, None, None, None)


@pytest.mark.parametrize("space", ["\x1c", "\x1f", "\x85", "\u2003"])
def test_a_space_that_no_header_has_is_no_space(space):
    """Python strips more than it reads past in a number."""
    assert read_rate_limit({"X-RateLimit-Remaining": f"5{space}"}, None, NOW) is None


def test_a_remaining_of_less_than_nothing_is_no_number():
    """Some servers say -1 where nothing limits."""
    assert told(X_RateLimit_Remaining="0") == RateLimitHeaders(None, None, 0, None)
    assert told(X_RateLimit_Remaining="-1") is None


def test_what_is_out_of_range_is_clamped():
    huge = "9" * 200

    assert told(RateLimit_Policy=f"a;q={huge};w={huge}", RateLimit=f"a;r={huge};t={huge}") == RateLimitHeaders(
        10**9, 3600.0, 10**9, 3600.0
    )


def test_a_quote_that_is_not_closed_holds_what_follows():
    assert told(RateLimit_Policy='"a;q=9;w=60, b;q=5;w=1') is None
    assert told(RateLimit_Policy='b;q=5;w=1, "a;q=9;w=60') == RateLimitHeaders(5, 1.0, None, None)


@pytest.mark.parametrize("name", ["RateLimit_Limit", "RateLimit_Remaining", "RateLimit_Reset", "X_RateLimit_Limit"])
def test_a_text_of_unusual_length_is_left_unread(name):
    assert told(**{name: "7".rjust(1024)}) is not None
    assert told(**{name: "7".rjust(1025)}) is None


def test_many_lines_are_a_long_text_too():
    assert read_rate_limit(answer(*[("RateLimit-Policy", "a;q=9;w=60")] * 100), DATE, NOW) is None


def test_of_two_lines_where_one_is_due_the_first_counts():
    headers = answer(("X-RateLimit-Remaining", "5"), ("X-RateLimit-Remaining", "6"))

    assert read_rate_limit(headers, DATE, NOW) == RateLimitHeaders(None, None, 5, None)
