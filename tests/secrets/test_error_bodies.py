"""A server text that echoes what was sent in confidence is scrubbed of it (contract §2, Credentials)."""

from urllib.parse import quote_plus

import attrs
import orjson
import pytest

from clarus_async.errors import ErrorDetail
from clarus_async.wire.error_bodies import read_error_body, secrets_in

SECRET = "canary-secret"


def scrubbed(body, *secrets):
    body = body if isinstance(body, bytes) else orjson.dumps(body)
    return read_error_body(body, secrets)


def scrub(details, secrets):
    """What is read of an answer that says these details."""
    return read_error_body(orjson.dumps({"errors": [attrs.asdict(detail) for detail in details]}), secrets)


@pytest.mark.parametrize("field", ["code", "symbol", "details", "source"])
def test_a_secret_in_a_text_becomes_stars(field):
    (detail,) = scrub([ErrorDetail(**{field: f"<{SECRET}> {SECRET}"})], [SECRET])

    assert getattr(detail, field) == "<***> ***"


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        ({"a": SECRET}, {"a": "***"}),
        ({"a": [{"b": f"x{SECRET}"}]}, {"a": [{"b": "x***"}]}),
        ({SECRET: 1}, {"***": 1}),
        ({"a": 1, "b": None, "c": True, "d": 1.5}, {"a": 1, "b": None, "c": True, "d": 1.5}),
    ],
)
def test_a_secret_in_a_context_becomes_stars(context, expected):
    (detail,) = scrub([ErrorDetail(context=context)], [SECRET])

    assert detail.context == expected


def test_a_secret_that_is_a_number_becomes_stars():
    (detail,) = scrub([ErrorDetail(code=123456, context={"a": 123456, "b": 1234567})], ["123456"])

    assert (detail.code, detail.context) == ("***", {"a": "***", "b": 1234567})


def test_a_secret_that_begins_with_another_goes_whole():
    (detail,) = scrub([ErrorDetail(details="canary-secret canary")], ["canary", "canary-secret"])

    assert detail.details == "*** ***"


@pytest.mark.parametrize("secrets", [[], [""]])
def test_without_secrets_nothing_changes(secrets):
    details = (ErrorDetail(details="a"),)

    assert scrub(iter(details), secrets) == details


def test_what_holds_no_secret_stays_as_it_is():
    detail = ErrorDetail(code=1, symbol="s", details="d", source="f", context={"a": [1]})

    assert scrub([detail], [SECRET]) == (detail,)


@pytest.mark.parametrize("secret", ["None", "True"])
def test_what_is_not_there_is_no_echo_of_a_secret(secret):
    detail = ErrorDetail(details="d", context={"a": True})

    assert scrub([detail], [secret]) == (detail,)


def test_the_values_of_a_configuration_are_its_secrets():
    assert secrets_in({"api_key": "abcd", "nested": {"list": ["efgh", 12345, 1.25]}}) == [
        "abcd", "efgh", "12345", "1.25"
    ]  # fmt: skip


@pytest.mark.parametrize("value", [None, True, False, "abc", 1, 999, [], {}])
def test_what_would_turn_every_text_to_stars_is_no_secret(value):
    assert secrets_in({"a": value}) == []


def test_what_is_no_secret_stays_readable():
    text = "True is not allowed in 11 regions of europe"

    assert text in str(scrubbed({"error": text}, *secrets_in({"test_mode": True, "retries": 1, "region": "eu"})))


@pytest.mark.parametrize("configuration", [None, {}, "UNSET"[:0]])
def test_no_configuration_has_no_secrets(configuration):
    assert secrets_in(configuration) == []


# Where the text is changed before it is scrubbed, the secret is no longer found in it.


@pytest.mark.parametrize("template", ["{}", "not accepted: {}"])
def test_a_secret_of_several_lines_is_found(template):
    secret = "-----BEGIN KEY-----\nMIIEvQIBADAN\nBgkqhkiG9w0B\n-----END KEY-----\n"

    assert "MIIEvQIBADAN" not in repr(scrubbed({"error": template.format(secret)}, secret))


def test_a_secret_longer_than_what_is_kept_of_a_text_is_found():
    secret = "canary" * 100

    assert "canary" not in repr(scrubbed({"error": secret}, secret))


def test_a_secret_where_a_text_is_cut_is_found():
    text = "x" * 490 + SECRET

    assert SECRET[:6] not in repr(scrubbed({"error": text}, SECRET))


def test_a_secret_in_an_object_that_is_shown_as_text_is_found():
    secret = "canary\\pass'word"

    assert "canary" not in repr(scrubbed({"error": {"given": secret}}, secret))


@pytest.mark.parametrize("secret", ['canary"quoted', "canary\\slash", "canary\ttab"])
def test_a_secret_in_json_that_is_no_object_is_found(secret):
    assert "canary" not in repr(scrubbed([secret], secret))


def deep_context(depth):
    return b'{"errors": [{"details": "d", "context": {"a": %b"x"%b}}]}' % (b"[" * depth, b"]" * depth)


def test_a_context_that_nests_is_scrubbed():
    assert len(scrubbed(deep_context(200), SECRET)) == 1


def test_a_context_that_nests_as_deep_as_json_goes_is_scrubbed():
    assert len(scrubbed(deep_context(900), SECRET)) == 1


def test_a_text_that_is_nothing_but_echoes_is_scrubbed_to_its_end():
    secret = "canary" * 10

    assert "canary" not in repr(scrubbed(secret.encode() * 100, secret))


@pytest.mark.parametrize("body", [b"error=%b", b"<title>%b</title>", b'{"error": "%b"}'])
def test_a_secret_that_is_echoed_as_a_form_carries_it_is_found(body):
    assert "canary" not in repr(scrubbed(body % b"canary%26pass+word", "canary&pass word"))


@pytest.mark.parametrize("echo", [b"a&amp;b&lt;canary", b"a&amp;b&#60;canary"])
def test_a_secret_that_is_echoed_as_html_carries_it_is_found(echo):
    assert "canary" not in repr(scrubbed(b"<title>not accepted: %b</title>" % echo, "a&b<canary"))


CANARY = 'canary-ä"1'


@pytest.mark.parametrize(
    "body",
    [
        orjson.dumps({"message": orjson.dumps({"message": CANARY}).decode()}),
        orjson.dumps({"fault": {"faultstring": CANARY}}),
        orjson.dumps({"colour": CANARY}),
        orjson.dumps({"name": [CANARY]}),
        f"no {CANARY}".encode("utf-16"),
        f"no {CANARY} ".encode() + b"\xff and more",
        f"no {CANARY}".encode("latin-1"),
        f"<h1>no {CANARY}</h1>".encode(),
        b"error=x&error_description=" + quote_plus(CANARY).encode(),
    ],
)
def test_a_secret_shows_in_no_form_and_no_encoding(body):
    shown = str(read_error_body(body, [CANARY]))

    assert "canary" not in shown


def test_a_secret_shows_in_no_challenge():
    for written in ("canary-1", "canary\\-1"):
        (detail,) = read_error_body(b"", ["canary-1"], f'Bearer error="x", error_description="not {written}"')

        assert str(detail) == "x: not ***"
