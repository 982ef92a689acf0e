"""The token endpoint's requests and answers."""

from base64 import b64decode
from urllib.parse import parse_qs

import orjson
import pytest

from clarus_async.auth.rfc6749 import basic_forms, read_token, refuses_client, reports_error, token_form
from clarus_async.wire.reading import Unreadable


def read(**document):
    return read_token(orjson.dumps({"access_token": "abc", "token_type": "Bearer"} | document))


def test_a_form_carries_its_parameters():
    assert token_form({"grant_type": "client_credentials", "client_id": "i"}) == (
        b"grant_type=client_credentials&client_id=i"
    )


@pytest.mark.parametrize("value", ["a&b=c", "a b+c", "ä", "100%", "a\r\nb", "=="])
def test_a_form_carries_any_value(value):
    assert parse_qs(token_form({"client_secret": value}).decode()) == {"client_secret": [value]}


def test_the_client_goes_into_a_header_encoded_by_percent_and_then_as_it_is():
    basics, rest = basic_forms({"grant_type": "g", "client_id": "ab", "client_secret": "s&c/r+t%:é "})

    assert [b64decode(basic).decode() for basic in basics] == ["ab:s%26c%2Fr%2Bt%25%3A%C3%A9%20", "ab:s&c/r+t%:é "]
    assert rest == {"grant_type": "g"}


def test_a_client_that_needs_no_encoding_goes_into_a_header_in_one_way():
    basics, _ = basic_forms({"client_id": "a-b.c_d~e", "client_secret": "S3cret"})

    assert [b64decode(basic) for basic in basics] == [b"a-b.c_d~e:S3cret"]


def test_an_id_with_a_colon_can_only_be_encoded():
    basics, _ = basic_forms({"client_id": "a:b", "client_secret": "s"})

    assert [b64decode(basic) for basic in basics] == [b"a%3Ab:s"]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, b'{"error": "invalid_client"}'),
        (400, b'{"error": "invalid_client"}'),
        (400, b'{"error": "unauthorized_client"}'),
        (403, b'{"error": "unauthorized_client"}'),
        (400, b'{"error": "invalid_request", "error_description": "client authentication must be by header"}'),
        (200, b'{"error": "invalid_client"}'),
        (401, b""),
        (401, b"<html>"),
        (401, b'{"message": "Unauthorized"}'),
    ],
)
def test_a_refusal_of_the_client(status, body):
    assert refuses_client(status, body)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, b'{"error": "invalid_grant"}'),
        (400, b'{"error": "invalid_scope"}'),
        (400, b'{"error": ["invalid_client"]}'),
        (400, b'{"error": null}'),
        (400, b"invalid_client"),
        (400, b"[]"),
        (403, b""),
        (429, b'{"error": "slow_down"}'),
        (500, b'{"error": "invalid_client"}'),
    ],
)
def test_any_other_refusal(status, body):
    assert not refuses_client(status, body)


def test_an_empty_parameter_is_left_out():
    assert token_form({"client_id": "i", "scope": ""}) == b"client_id=i"


def test_a_token_is_read():
    answer = read(expires_in=3600, refresh_token="r")

    assert (answer.access_token, answer.expires_in, answer.refresh_token) == ("abc", 3600.0, "r")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(3600, 3600.0), (1.5, 1.5), (0, 0.0), (-1, -1.0), ("3600", 3600.0), (" 60 ", 60.0)],
)
def test_a_life_is_a_number_or_a_string_of_one(value, seconds):
    assert read(expires_in=value).expires_in == seconds


@pytest.mark.parametrize("value", [None, True, "", "soon", "1h", [60], {"s": 60}, "1" * 33])
def test_any_other_life_is_as_good_as_none(value):
    assert read(expires_in=value).expires_in is None


@pytest.mark.parametrize("value", [None, "", 1, ["r"]])
def test_a_refresh_token_that_is_none_is_as_good_as_none(value):
    assert read(refresh_token=value).refresh_token is None


@pytest.mark.parametrize("kind", ["bearer", "Bearer", "BEARER"])
def test_the_type_is_bearer_in_any_case(kind):
    assert read(token_type=kind).access_token == "abc"


@pytest.mark.parametrize("members", ["", ', "token_type": null', ', "token_type": ""', ', "token_type": "BEARER "'])
def test_a_token_without_a_type_is_taken_for_a_bearer_token(members):
    assert read_token(b'{"access_token": "abc"%s}' % members.encode()).access_token == "abc"


@pytest.mark.parametrize("token", ["12|abc", "a!b", "a:b", "a,b", "a=b", "=", 'a"b'])
def test_a_token_may_have_any_printable_character(token):
    assert read(access_token=token).access_token == token


def test_a_refresh_token_that_could_not_be_sent_again_is_an_error():
    assert read(refresh_token="é") == Unreadable("/refresh_token", "printable ASCII characters")


@pytest.mark.parametrize("kind", ["mac", "DPoP", 1, ["bearer"]])
def test_a_token_of_another_type_is_not_used(kind):
    assert read(token_type=kind) == Unreadable("/token_type", "bearer")


@pytest.mark.parametrize("token", [None, "", 1, "a b", "a\r\nX-Evil: 1", ["abc"], "ä"])
def test_what_could_end_a_header_early_is_no_token(token):
    assert read(access_token=token) == Unreadable("/access_token", "a bearer token")


@pytest.mark.parametrize(
    ("body", "expected"), [(b"", "JSON"), (b"<html>", "JSON"), (b"[]", "an object"), (b"null", "an object")]
)
def test_an_answer_that_is_no_object(body, expected):
    assert read_token(body) == Unreadable("", expected)


def test_an_answer_does_not_show_its_tokens():
    assert "canary" not in repr(read(access_token="canary", refresh_token="canary"))


@pytest.mark.parametrize("body", [b'{"error": "bad_code"}', b'{"error": {"code": 1}}', b'{"errors": ["no"]}'])
def test_a_success_may_be_an_error(body):
    assert reports_error(body)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"error": ""}', b'{"error": null}', b'{"access_token": "a", "error": "odd"}']
)
def test_what_reports_no_error_is_none(body):
    assert not reports_error(body)
