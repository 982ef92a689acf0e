"""Input that means no good, from whoever calls us: it is refused where it comes in, or travels as what it is.

Which settings and credentials are refused, and in what words, is in tests/test_config.py and test_credentials.py,
what is wrong with a file's rows in tests/provisioning/files/test_reader.py, and with a journal in
tests/provisioning/journal/test_file.py. Here some are tried at each entrance, with a server that sees what goes out.
"""

import enum
from datetime import UTC, datetime

import orjson
import pytest

from clarus_async import (
    AccessToken,
    Applied,
    AuthorizationCode,
    ClarusClient,
    ClientCredentials,
    ConfigurationError,
    IntegrationChanges,
    IntegrationFilter,
    InvalidInputError,
    NewIntegration,
    OutcomeUnknownError,
    RefreshToken,
)
from clarus_async.cli.commands import main
from clarus_async.reconcile.pending import InDoubt, LookupKey, Moment, PendingCreate
from tests.robustness.test_server import good, page
from tests.support.stub_server import TOKEN_PATH, StubServer
from tests.support.virtual import virtual

EVIL = "a\r\nX-Evil: 1\r\n\r\nGET /evil HTTP/1.1\r\n"


def untouched(server):
    """Whether no request has a line that we did not write."""
    return all(
        "x-evil" not in asked.headers and "evil" not in asked.path and asked.method in {"POST", "PATCH", "DELETE"}
        for asked in server.asked
    )


# Settings, at each entrance.

SETTINGS = {
    "subdomain: a path": ("subdomain", "evil.example/"),
    "subdomain: a header": ("subdomain", EVIL),
    "subdomain: a line feed": ("subdomain", "acme\n"),
    "subdomain: a wide letter": ("subdomain", "\uff41cme"),
    "base_url: userinfo": ("base_url", "https://user:canary@clarus.example"),
    "base_url: a query": ("base_url", "https://clarus.example/?canary=1"),
    "base_url: a header": ("base_url", "https://clarus.example/" + EVIL),
    "base_url: plain http": ("base_url", "http://evil.example"),
}


def at_each_entrance(name, value, monkeypatch):
    """Give a setting to whatever takes it, and yield what that says."""
    settings = {"subdomain": "acme", "base_url": "https://clarus.example"} | {name: value}
    yield lambda: ClarusClient(settings["subdomain"], AccessToken("x"), base_url=settings["base_url"])
    if name == "subdomain":
        client = ClarusClient("acme", AccessToken("x"))
        yield lambda: client.for_subdomain(value)
    else:
        yield lambda: AuthorizationCode("id", "secret", "https://x.example", base_url=value)
    yield lambda: ClarusClient.from_env(credentials=AccessToken("x"), **settings)
    monkeypatch.setenv("CLARUS_SUBDOMAIN", settings["subdomain"])
    monkeypatch.setenv("CLARUS_BASE_URL", settings["base_url"])
    # What a shell puts around a variable is taken away.
    if value == value.strip():
        yield lambda: ClarusClient.from_env(credentials=AccessToken("x"))


@pytest.mark.parametrize(("name", "value"), SETTINGS.values(), ids=SETTINGS)
def test_a_setting_is_refused_at_each_entrance(name, value, monkeypatch, capsys):
    for enter in at_each_entrance(name, value, monkeypatch):
        with pytest.raises((ConfigurationError, InvalidInputError), match=f"{name}: ") as caught:
            enter()
        assert str(caught.value).isprintable()
        assert "canary" not in str(caught.value)
    monkeypatch.setenv("CLARUS_ACCESS_TOKEN", "x")
    assert main(["ping", f"--{name.replace('_', '-')}", value]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"--{name.replace('_', '-')}: " in said
    assert "canary" not in said


# Strings that may hold anything: they travel in a form or in JSON, and never in a header or a URL.


STRINGS = {
    "a header": EVIL,
    "quotes": "\"'`\\",
    "GraphQL": 'x"}}) { integrations { all { edges { node { id } } } } } #',
    "JSON": '","id":2,"x":"',
    "a form": "&grant_type=password&scope=admin;a=b%0d%0a+",
    "a path": "../../oauth/token?x=1#y",
    "NUL": "a\0b",
    "a terminal": "\x1b]0;evil\x07\x1b[2J",
    "a line separator": "a\u2028b\u2029c\u0085d",
    "right to left": "\u202egnp.exe",
    "a formula": "=cmd|' /C calc'!A0",
    "emoji": "\U0001f600\u200d",
}


@pytest.mark.parametrize("text", STRINGS.values(), ids=STRINGS)
@virtual
async def test_a_string_arrives_as_it_is_and_writes_nothing_else(text):
    new = NewIntegration(
        name=text,
        integration_type=text,
        provider=text,
        configuration={text: [text]},
        external_system_reference1=text,
        string1=text,
    )
    # OAuth's own values are printable ASCII characters (RFC 6749, appendix A); others are refused where they are given.
    own = text if text.isascii() and text.isprintable() else "own"
    async with StubServer(good) as server:
        for credentials in (ClientCredentials(own, own), RefreshToken(own, own, own)):
            async with ClarusClient("acme", credentials, base_url=server.url) as clarus:
                await clarus.integrations.create(new)
                await clarus.integrations.update(1, IntegrationChanges(name=text, string1=text))
                [row async for row in clarus.integrations.list(IntegrationFilter(name=text, name_contains=text))]
                await clarus.graphql("query($x: String) { x }", {"x": text})
        created, changed, listed, asked = (orjson.loads(asked.body) for asked in server.asked[1:5])
        forms = [asked.form for asked in server.asked if asked.path == TOKEN_PATH]

    assert untouched(server)
    assert len(server.asked) == 10
    assert {form["client_id"] for form in forms} == {form["client_secret"] for form in forms} == {own}
    assert [set(form) for form in forms] == [
        {"grant_type", "client_id", "client_secret"},
        {"grant_type", "client_id", "client_secret", "refresh_token"},
    ]
    assert created["data"]["attributes"]["configuration"] == {text: [text]}
    assert created["data"]["attributes"]["name"] == changed["data"]["attributes"]["name"] == text
    assert listed["variables"]["filter"]["name"] == {"eq": text, "ilike": text}
    assert text not in listed["query"]
    assert asked["variables"] == {"x": text}


@virtual
async def test_an_error_that_travelled_can_write_no_header_either():
    error = OutcomeUnknownError(
        EVIL, request_id=EVIL, method=EVIL, path=EVIL,
        pending=PendingCreate(
            "integrations", [LookupKey("name", EVIL, "name")], EVIL, InDoubt(sends=1, applied=Applied.MAYBE),
            Moment(None, wall=datetime.now(UTC)), Moment(None, wall=datetime.now(UTC)), found=(1,),
        ),
    )  # fmt: skip
    assert str(error).isprintable()
    async with (
        StubServer(lambda asked: page([])._replace(headers=("Date: Sat, 10 Jan 2026 12:00:00 GMT",))) as server,
        ClarusClient("acme", AccessToken("x"), base_url=server.url) as clarus,
    ):
        assert await clarus.integrations.resolve(error) is None

    assert untouched(server)
    assert {asked.path for asked in server.asked} == {"/graphql"}


@virtual
async def test_an_authorization_url_holds_what_it_is_given_and_no_more():
    flow = AuthorizationCode("a&scope=admin#?", "secret", "https://x.example/?a=b&c=d#e", ("a",))
    url = flow.authorization_url("s#?&scope=admin", "x" * 43)

    assert url.isprintable()
    assert url.count("?") == url.count("scope=") == 1
    assert "#" not in url


# Ids: they become part of a path.


class Named(int, enum.Enum):
    ONE = 1


class Lying(int):
    def __str__(self):
        return "1/../../oauth"

    __repr__ = __str__

    def __format__(self, spec):
        return "1/../../oauth"


IDS = ["1/../../oauth", "..", "%2e%2e", "1", "", b"1", -1, True, 1.0, float("nan"), 2**63, 10**400, None, [1], 1j]


@pytest.mark.parametrize("number", IDS, ids=lambda value: repr(value)[:20])
@virtual
async def test_what_is_no_id_is_refused_and_nothing_is_sent(number):
    async with (
        StubServer(good) as server,
        ClarusClient("acme", ClientCredentials("id", "secret"), base_url=server.url) as clarus,
    ):
        for call in (
            clarus.integrations.delete(number),
            clarus.integrations.synchronize(number),
            clarus.integrations.update(number, IntegrationChanges(name="A")),
        ):
            with pytest.raises(InvalidInputError, match="id: must be a non-negative integer") as caught:
                await call
            assert "oauth" not in str(caught.value)
        assert server.asked == []


@pytest.mark.parametrize("number", [Named.ONE, Lying(1)], ids=["of an enum", "that lies"])
@virtual
async def test_an_id_is_sent_as_the_number_that_it_is(number):
    async with StubServer(good) as server, ClarusClient("acme", AccessToken("x"), base_url=server.url) as clarus:
        await clarus.integrations.delete(number)
        await clarus.integrations.synchronize(number)
        await clarus.integrations.update(number, IntegrationChanges(name="A"))

    assert [asked.path.removeprefix("/api/integrations/") for asked in server.asked] == ["1", "1/synchronize", "1"]
    assert orjson.loads(server.asked[2].body)["data"]["id"] == "1"
