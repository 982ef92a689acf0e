"""Credentials: what they take, and that they keep it to themselves."""

import copy
import dataclasses
import functools
import pickle

import attrs
import pytest

from clarus_async.auth.authorization_code import AuthorizationCode
from clarus_async.credentials import (
    AccessToken,
    ClientCredentials,
    RefreshToken,
    Token,
    TokenSource,
    bearer_problem,
    credentials_problem,
    scopes_problem,
)
from clarus_async.errors import InvalidInputError

CANARY = "canary-secret"

EVERY = [
    ClientCredentials("id", CANARY),
    ClientCredentials("id", CANARY, ("a", "b")),
    RefreshToken("id", CANARY, CANARY, on_rotate=print),
    AccessToken(CANARY),
    Token(CANARY, 300.0),
    AuthorizationCode("id", CANARY, "https://app.test/back"),
]
every = pytest.mark.parametrize("credentials", EVERY, ids=lambda credentials: type(credentials).__name__)


def refused(make, *args, **kwargs):
    with pytest.raises(InvalidInputError) as caught:
        make(*args, **kwargs)
    return [problem.field for problem in caught.value.problems]


@every
def test_no_repr_shows_a_secret(credentials):
    assert CANARY not in f"{credentials} {credentials!r}"


@every
@pytest.mark.parametrize("protocol", range(2, 6))
def test_credentials_refuse_to_be_pickled(credentials, protocol):
    with pytest.raises(TypeError, match="holds a secret and refuses to be pickled") as caught:
        pickle.dumps(credentials, protocol)

    assert CANARY not in str(caught.value)


@every
@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_a_copy_of_credentials_is_themselves(credentials, duplicate):
    assert duplicate(credentials) is credentials


@every
def test_what_holds_credentials_can_be_copied(credentials):
    @dataclasses.dataclass
    class Settings:
        credentials: object
        tenants: list

    settings = Settings(credentials, ["acme"])

    assert copy.deepcopy(settings) == settings
    assert dataclasses.asdict(settings)["credentials"] is credentials
    assert attrs.evolve(credentials) == credentials


@every
def test_credentials_are_frozen(credentials):
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(credentials, attrs.fields(type(credentials))[0].name, "x")


def test_the_repr_says_whose_credentials_they_are():
    assert repr(ClientCredentials("id", CANARY, ("a",))) == "ClientCredentials(client_id='id', scopes=('a',))"


@pytest.mark.parametrize("value", ["", None, 1, b"x", ["x"]])
@pytest.mark.parametrize("field", ["client_id", "client_secret"])
def test_client_credentials_name_what_is_missing_or_malformed(field, value):
    assert refused(ClientCredentials, **{"client_id": "i", "client_secret": "s"} | {field: value}) == [field]


def test_client_credentials_name_all_at_once():
    assert refused(ClientCredentials, "", None, "a b") == ["client_id", "client_secret", "scopes"]


@pytest.mark.parametrize("value", ["", None, 1, b"x"])
@pytest.mark.parametrize("field", ["client_id", "client_secret", "refresh_token"])
def test_a_refresh_token_names_what_is_missing_or_malformed(field, value):
    given = {"client_id": "i", "client_secret": "s", "refresh_token": "r"}

    assert refused(RefreshToken, **given | {field: value}) == [field]


def test_on_rotate_must_be_callable():
    assert refused(RefreshToken, "i", "s", "r", "print") == ["on_rotate"]


@pytest.mark.parametrize(
    "make",
    [
        functools.partial(ClientCredentials, "i", "\ud800"),
        functools.partial(ClientCredentials, "\ud800", "s"),
        functools.partial(RefreshToken, "i", "s", "\ud800"),
    ],
)
def test_credentials_that_no_form_can_carry_are_refused(make):
    assert refused(make)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    "make",
    [
        lambda value: ClientCredentials("i", value),
        lambda value: ClientCredentials(value, "s"),
        lambda value: RefreshToken("i", "s", value),
        lambda value: AuthorizationCode("i", value, "https://app.test/back"),
        lambda value: AuthorizationCode("i", "s", f"https://app.test/{value}"),
        AccessToken,
        Token,
    ],
)
def test_a_line_end_is_refused_where_it_is_given(make, end):
    with pytest.raises(InvalidInputError, match="must have no line end: strip it") as caught:
        make(CANARY + end)

    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("value", ["a b", "a:b", "12|a", "!", "~", " a "])
def test_a_secret_may_have_any_printable_character(value):
    assert ClientCredentials("i", value).client_secret == value


@pytest.mark.parametrize("value", ["a\x00b", "a\tb", "a\nb", "a\x7f", "ä"])
def test_a_secret_that_the_rfc_does_not_allow(value):
    assert refused(ClientCredentials, value, value) == ["client_id", "client_secret"]
    assert refused(RefreshToken, "i", "s", value) == ["refresh_token"]


@pytest.mark.parametrize("scopes", [(), ("a",), ("a", "b:c"), ("https://x/y",), ("!",)])
def test_scopes_that_the_rfc_allows(scopes):
    assert scopes_problem(scopes) is None


@pytest.mark.parametrize("scopes", [None, "a", ["a"], ("",), ("a b",), ('"',), ("\\",), ("a\n",), ("ä",), (1,)])
def test_scopes_that_the_rfc_does_not_allow(scopes):
    assert scopes_problem(scopes) == "must be scope names without spaces"


def test_a_list_of_scopes_is_taken_as_a_tuple():
    assert ClientCredentials("i", "s", ["a", "b"]).scopes == ("a", "b")


@pytest.mark.parametrize("token", ["a", "A-._~+/9", "abc==", "a=", "=", "12|abc", "a!b", "a:b", 'a"', "a=b", "a,b"])
def test_a_bearer_token_of_printable_characters(token):
    assert bearer_problem(token) is None
    assert AccessToken(token).token == Token(token).value == token


@pytest.mark.parametrize(
    "token", ["", "a b", " a", "a\n", "a\r\nX-Evil: 1", "\n", "a\x00", "a\x7f", "ä", None, b"a", 1]
)
def test_what_could_end_a_header_early_is_no_bearer_token(token):
    assert bearer_problem(token) is not None
    assert refused(AccessToken, token) == ["token"]
    assert refused(Token, token) == ["value"]


@pytest.mark.parametrize("expires_in", [None, 0, 1.5, -1, float("inf")])
def test_a_token_may_say_any_life(expires_in):
    assert Token("abc", expires_in).expires_in == expires_in


@pytest.mark.parametrize("expires_in", ["300", True, [300]])
def test_a_token_whose_life_is_no_number_is_refused(expires_in):
    assert refused(Token, "abc", expires_in) == ["expires_in"]


class Vault:
    async def fetch(self):
        return Token("abc")


class Sync:
    def fetch(self):
        return Token("abc")


def test_a_token_source_is_known_by_its_method():
    assert isinstance(Vault(), TokenSource)


@pytest.mark.parametrize(
    "credentials", [ClientCredentials("i", "s"), RefreshToken("i", "s", "r"), AccessToken("t"), Vault()]
)
def test_what_can_authenticate(credentials):
    assert credentials_problem(credentials) is None


@pytest.mark.parametrize(
    "credentials", [None, "token", ("id", CANARY), {"client_id": CANARY}, Sync(), Token("t"), object()]
)
def test_what_can_not_authenticate(credentials):
    problem = credentials_problem(credentials)

    assert problem.endswith(f"not {type(credentials).__name__}")
    assert CANARY not in problem


def test_a_token_source_that_was_not_made_can_not_authenticate():
    assert credentials_problem(Vault) is not None
