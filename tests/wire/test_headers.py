"""What answer headers say."""

from datetime import UTC, datetime, timedelta

import pytest

from clarus_async.wire.headers import http_date, request_id, retry_after

NOW = datetime(2026, 1, 10, 12, 0, 0, tzinfo=UTC)
DATE = "Sat, 10 Jan 2026 11:00:00 GMT"  # the server's clock is an hour behind ours


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("Sat, 10 Jan 2026 12:00:00 GMT", NOW),
        ("Saturday, 10-Jan-26 12:00:00 GMT", NOW),
        ("Sat Jan 10 12:00:00 2026", NOW),
        ("Sat, 10 Jan 2026 14:00:00 +0200", NOW),
        ("Sat, 10 Jan 2026 12:00:00 -0000", NOW),
    ],
)
def test_an_http_date_in_each_form_of_the_rfc(value, moment):
    assert http_date(value) == moment


def test_an_http_date_has_a_timezone():
    assert http_date("Sat, 10 Jan 2026 12:00:00 -0000").tzinfo is UTC


@pytest.mark.parametrize(
    "value", [None, "", " ", "soon", "0", "-1", "Sat, 99 Jan 2026 12:00:00 GMT", "\x00", "ä", "1" * 65, "Sat, " * 20]
)
def test_what_is_no_http_date(value):
    assert http_date(value) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("0", 0.0), ("5", 5.0), (" 5 ", 5.0), ("1.5", 1.5), ("5.", 5.0), ("0.001", 0.001), ("9" * 18, 1e18)],
)
def test_retry_after_in_seconds_with_a_fraction_or_without(value, seconds):
    assert retry_after(value, None, NOW) == pytest.approx(seconds)


def test_a_date_is_measured_against_the_servers_own_clock():
    assert retry_after("Sat, 10 Jan 2026 11:00:30 GMT", DATE, NOW) == 30.0


@pytest.mark.parametrize("date", [None, "", "nonsense"])
def test_a_date_is_measured_against_our_clock_where_the_server_shows_none(date):
    assert retry_after("Sat, 10 Jan 2026 12:00:30 GMT", date, NOW) == 30.0


def test_a_date_that_has_passed_means_now():
    assert retry_after("Sat, 10 Jan 2026 10:00:00 GMT", DATE, NOW) == 0.0


def test_our_clocks_timezone_does_not_matter():
    elsewhere = NOW.astimezone(datetime.strptime("+0530", "%z").tzinfo)

    assert retry_after("Sat, 10 Jan 2026 12:00:30 GMT", None, elsewhere) == 30.0


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "soon",
        "-1",
        "-0.5",
        "+5",
        "1e3",
        "0x10",
        "1,5",
        "5 s",
        "nan",
        "inf",
        "٣",
        "²",
        "9" * 19,
        ".5",
        "1.2.3",
    ],
)
def test_retry_after_that_says_nothing(value):
    assert retry_after(value, DATE, NOW) is None


def test_a_date_in_the_far_future_is_finite():
    seconds = retry_after("Fri, 31 Dec 9999 23:59:59 GMT", "Mon, 01 Jan 0001 00:00:00 GMT", NOW)

    assert 0 < seconds <= timedelta.max.total_seconds()


@pytest.mark.parametrize(
    ("value", "identifier"),
    [
        ("abc-123", "abc-123"),
        (None, None),
        ("", None),
        ("\n\t\x00", None),
        ("a\r\nb\x1b[31mc\udc80", "ab[31mc"),
        ("x" * 200, "x" * 128),
    ],
)
def test_a_request_id_is_cut_to_what_a_log_line_takes(value, identifier):
    assert request_id(value) == identifier
