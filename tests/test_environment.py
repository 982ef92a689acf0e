"""What the environment says: all that is missing or bad is named at once."""

import pytest

from clarus_async import ClarusClient
from clarus_async.config import DEFAULT_BASE_URL
from clarus_async.credentials import AccessToken, ClientCredentials, RefreshToken
from clarus_async.environment import read_environment
from clarus_async.errors import ConfigurationError

CANARY = "canary-secret"
GOOD = {"CLARUS_SUBDOMAIN": "acme", "CLARUS_CLIENT_ID": "id", "CLARUS_CLIENT_SECRET": "secret"}
VARIABLES = (
    *GOOD, "CLARUS_SCOPES", "CLARUS_ACCESS_TOKEN", "CLARUS_REFRESH_TOKEN", "CLARUS_BASE_URL"
)  # fmt: skip


def read(environ, allow_http=False, **overrides):
    return read_environment(overrides, environ, allow_http=allow_http)


def refused(environ, **options):
    with pytest.raises(ConfigurationError) as caught:
        read(environ, **options)
    return str(caught.value)


def test_client_credentials_are_read():
    settings = read(GOOD)

    assert settings.subdomain == "acme"
    assert settings.credentials == ClientCredentials("id", "secret")
    assert settings.base_url == DEFAULT_BASE_URL


@pytest.mark.parametrize("text", ["read write", "read,write", " read,  write "])
def test_scopes_are_separated_by_spaces_or_commas(text):
    assert read(GOOD | {"CLARUS_SCOPES": text}).credentials.scopes == ("read", "write")


def test_a_refresh_token_is_read():
    assert read(GOOD | {"CLARUS_REFRESH_TOKEN": "r"}).credentials == RefreshToken("id", "secret", "r")


def test_an_access_token_is_enough():
    assert read({"CLARUS_SUBDOMAIN": "acme", "CLARUS_ACCESS_TOKEN": "t"}).credentials == AccessToken("t")


def test_an_access_token_wins():
    assert read(GOOD | {"CLARUS_REFRESH_TOKEN": "r", "CLARUS_ACCESS_TOKEN": "t"}).credentials == AccessToken("t")


def test_the_base_url_is_read():
    assert read(GOOD | {"CLARUS_BASE_URL": "https://eu.example"}).base_url == "https://eu.example"


def test_space_around_a_value_is_nothing_of_it():
    settings = read({name: f" {value}\n" for name, value in GOOD.items()})

    assert settings == read(GOOD)


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("value", [None, "", "  \n"])
def test_a_variable_that_is_missing_or_empty_is_named(name, value):
    environ = GOOD | ({} if value is None else {name: value})
    if value is None:
        del environ[name]

    message = refused(environ)

    assert f"{name} is missing" in message
    assert all(other not in message for other in GOOD if other != name)


def test_all_that_is_missing_is_named_at_once():
    message = refused({})

    assert [name for name in VARIABLES if f"{name} is missing" in message] == list(GOOD)


def test_all_that_is_bad_is_named_at_once():
    message = refused({
        "CLARUS_SUBDOMAIN": "Acme\nCorp",
        "CLARUS_BASE_URL": "http://clarus-api.com",
        "CLARUS_CLIENT_ID": "id",
        "CLARUS_SCOPES": 'a"b',
    })  # fmt: skip

    for name in ("CLARUS_SUBDOMAIN", "CLARUS_BASE_URL", "CLARUS_SCOPES", "CLARUS_CLIENT_SECRET"):
        assert name in message


def test_a_bad_access_token_is_named_and_not_shown():
    message = refused({"CLARUS_SUBDOMAIN": "acme", "CLARUS_ACCESS_TOKEN": f"{CANARY} {CANARY}"})

    assert "CLARUS_ACCESS_TOKEN" in message
    assert CANARY not in message


def test_no_message_shows_a_value():
    message = refused({
        "CLARUS_SUBDOMAIN": f"{CANARY}!",
        "CLARUS_BASE_URL": f"https://user:{CANARY}@clarus-api.com",
        "CLARUS_SCOPES": f'"{CANARY}"',
        "CLARUS_CLIENT_SECRET": CANARY,
    })  # fmt: skip

    assert CANARY not in message


def test_overrides_win():
    settings = read(
        GOOD | {"CLARUS_BASE_URL": "https://eu.example"},
        subdomain="other",
        credentials=AccessToken("t"),
        base_url="https://us.example",
    )

    assert settings == ("other", AccessToken("t"), "https://us.example")


def test_what_is_overridden_is_not_missed():
    assert read({}, subdomain="acme", credentials=AccessToken("t")).subdomain == "acme"


def test_a_bad_override_is_refused():
    assert "one DNS label" in refused(GOOD, subdomain="Acme")


@pytest.mark.parametrize("override", [{"subdomain": ""}, {"base_url": ""}])
def test_an_empty_override_is_refused_and_not_made_good_from_the_environment(override):
    assert refused(GOOD, **override)


def test_plain_http_from_the_environment_only_where_the_caller_allows_it():
    environ = GOOD | {"CLARUS_BASE_URL": "http://clarus.internal"}

    assert "CLARUS_BASE_URL" in refused(environ)
    assert read(environ, allow_http=True).base_url == "http://clarus.internal"


@pytest.fixture
def environ(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_from_env_reads_the_process_environment(environ):
    for name, value in GOOD.items():
        environ.setenv(name, value)

    assert repr(ClarusClient.from_env()) == "<ClarusClient acme at https://clarus-api.com>"


def test_from_env_takes_the_constructors_options(environ):
    client = ClarusClient.from_env(subdomain="other", credentials=AccessToken("t"), max_connections=1)

    assert client.subdomain == "other"


@pytest.mark.parametrize("name", ["CLARUS_CLIENT_ID", "CLARUS_CLIENT_SECRET", "CLARUS_REFRESH_TOKEN"])
def test_a_variable_that_no_credentials_may_have_is_named_and_not_shown(name):
    message = refused(GOOD | {name: f"{CANARY}\nx", "CLARUS_SUBDOMAIN": "Acme"})

    assert f"{name}: must be printable ASCII characters only" in message
    assert "CLARUS_SUBDOMAIN" in message
    assert CANARY not in message
