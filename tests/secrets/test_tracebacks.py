"""No frame of ours that an error tracker ships holds a secret (contract §2, Credentials)."""

import functools
from pathlib import Path

import pytest

import clarus_async
from clarus_async.config import PacingPolicy, RetryPolicy, Timeouts
from clarus_async.credentials import AccessToken, ClientCredentials, RefreshToken, Token
from clarus_async.environment import read_environment
from clarus_async.errors import ClarusError
from clarus_async.resources.integrations import (
    IntegrationChanges,
    IntegrationFilter,
    NewIntegration,
    ShopifyConfiguration,
)

CANARY = "canary-secret"
PACKAGE = str(Path(clarus_async.__file__).parent)


def frames_of_ours(error, seen=None):
    """Every frame of ours in an error's traceback, its causes' and its contexts'."""
    seen = set() if seen is None else seen
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    step = error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename.startswith(PACKAGE):
            yield step.tb_frame
        step = step.tb_next
    yield from frames_of_ours(error.__cause__, seen)
    yield from frames_of_ours(error.__context__, seen)


def leaks_of(make):
    """Where the canary shows when ``make`` is refused: the error, or ``function.local`` of a frame of ours."""
    try:
        make()
    except ClarusError as error:
        leaks = ["the error"] if CANARY in f"{error} {error!r} {vars(error)}" else []
        frames = list(frames_of_ours(error))
    else:
        pytest.fail("it was not refused")
    assert frames
    for frame in frames:
        leaks += [f"{frame.f_code.co_qualname}.{name}" for name, v in frame.f_locals.items() if CANARY in repr(v)]
    return leaks


def new(**attributes):
    return NewIntegration(**{"name": "Shop", "integration_type": "shopify"} | attributes)


def from_mapping(**attributes):
    return NewIntegration.from_mapping({"name": "Shop", "integration_type": "shopify"} | attributes)


case = functools.partial


@pytest.mark.parametrize(
    "make",
    [
        case(new, name=1, configuration={"api_key": CANARY}),
        case(new, configuration=CANARY),
        case(new, configuration=[CANARY]),
        case(new, configuration={"a": {CANARY}}),
        case(new, configuration={"a": {"b": [CANARY, object()]}}),
        case(new, configuration={"a": CANARY + "\ud800"}),
        case(new, configuration={1: CANARY}),
        case(new, is_active=1, configuration=ShopifyConfiguration(api_key=CANARY, shop_domain=CANARY)),
        case(IntegrationChanges, name="", configuration={"api_key": CANARY}),
        case(IntegrationChanges, configuration=CANARY),
        case(IntegrationChanges, configuration={"a": object(), "b": CANARY}),
        case(ShopifyConfiguration, api_key=CANARY, shop_domain=""),
        case(ShopifyConfiguration, api_key=[CANARY], shop_domain="x"),
        case(ShopifyConfiguration, api_key=1, shop_domain=CANARY),
        case(ClientCredentials, "", CANARY),
        case(ClientCredentials, "id", [CANARY]),
        case(ClientCredentials, "id", CANARY, "a b"),
        case(RefreshToken, "", CANARY, CANARY),
        case(RefreshToken, "id", CANARY, ""),
        case(RefreshToken, "id", "", CANARY),
        case(RefreshToken, "id", CANARY, [CANARY]),
        case(RefreshToken, "id", CANARY, CANARY, "not callable"),
        case(AccessToken, f"{CANARY}\n"),
        case(AccessToken, [CANARY]),
        case(Token, f"{CANARY} {CANARY}", 300),
        case(Token, [CANARY]),
        case(read_environment, {}, {"CLARUS_CLIENT_SECRET": CANARY}),
        case(read_environment, {}, {"CLARUS_CLIENT_ID": "id", "CLARUS_CLIENT_SECRET": CANARY}),
        case(read_environment, {}, {"CLARUS_ACCESS_TOKEN": f"{CANARY} {CANARY}"}),
        case(read_environment, {}, {"CLARUS_SUBDOMAIN": "acme", "CLARUS_REFRESH_TOKEN": CANARY}),
        case(
            read_environment, {"credentials": ClientCredentials("id", CANARY)}, {"CLARUS_SUBDOMAIN": "Acme"}
        ),
    ],
)  # fmt: skip
def test_no_frame_of_a_refused_value_holds_a_secret(make):
    assert leaks_of(make) == []


@pytest.mark.parametrize(
    "make",
    [
        case(from_mapping, name=None, configuration={"api_key": CANARY}),
        case(from_mapping, nmae="x", configuration={"api_key": CANARY}),
        case(from_mapping, configuration=CANARY),
        case(from_mapping, configuration={"a": object(), "b": CANARY}),
        case(from_mapping, colour=CANARY),
    ],
)
def test_no_frame_of_a_refused_mapping_holds_a_secret(make):
    assert leaks_of(make) == []


@pytest.mark.parametrize(
    "make",
    [
        case(new, name={"api_key": CANARY}),
        case(new, provider=[CANARY]),
        case(IntegrationChanges, string1={"api_key": CANARY}),
        case(IntegrationFilter, name={CANARY: 1}),
        case(ClientCredentials, {"secret": CANARY}, "x"),
        case(ClientCredentials, "id", "", (f"{CANARY} {CANARY}",)),
        case(RefreshToken, [CANARY], "x", "y"),
        case(Token, "", CANARY),
        case(Timeouts, connect=CANARY),
        case(RetryPolicy, base=CANARY),
        case(PacingPolicy, max_wait=CANARY),
    ],
)
def test_no_frame_holds_a_secret_that_was_given_in_the_wrong_place(make):
    assert leaks_of(make) == []


def test_no_frame_holds_the_password_of_a_refused_base_url():
    environ = {"CLARUS_SUBDOMAIN": "acme", "CLARUS_ACCESS_TOKEN": "t"}

    assert leaks_of(case(read_environment, {}, environ | {"CLARUS_BASE_URL": f"https://u:{CANARY}@host"})) == []
