"""Tokens: three grants, their refusals, expiry and rotation (RFC 6749, RFC 7636)."""

import base64
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from clarus_async.simulator.oauth import CODE_LIFETIME, OAuthError, TokenIssuer, s256

FORM = "application/x-www-form-urlencoded"
CLIENT = {"client_id": "id", "client_secret": "secret"}


def issuer(lifetime=3600.0, rotate=True, seed=0):
    return TokenIssuer("id", "secret", lifetime=lifetime, rotate=rotate, seed=seed)


def exchange(tokens, now=0.0, authorization="", **form):
    credentials = {} if authorization else CLIENT
    return tokens.exchange(urlencode(credentials | form).encode(), FORM, authorization, now)


def refusal(tokens, now=0.0, authorization="", **form):
    with pytest.raises(OAuthError) as caught:
        exchange(tokens, now, authorization, **form)
    return caught.value.error, caught.value.answer.status


def basic(name, secret):
    return "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()


def test_client_credentials_give_a_bearer_token_and_no_refresh_token():
    tokens = issuer()
    answer = exchange(tokens, grant_type="client_credentials", scope="a b")

    assert answer.keys() == {"access_token", "token_type", "expires_in", "scope"}
    assert (answer["token_type"], answer["expires_in"], answer["scope"]) == ("Bearer", 3600, "a b")
    assert tokens.is_good(answer["access_token"], 3599.9)
    assert not tokens.is_good(answer["access_token"], 3600.0)


def test_a_lifetime_of_a_fraction_is_told_as_it_is():
    assert exchange(issuer(lifetime=0.5), grant_type="client_credentials")["expires_in"] == 0.5


def test_without_a_lifetime_nothing_is_told_and_nothing_expires():
    tokens = issuer(lifetime=None)
    answer = exchange(tokens, grant_type="client_credentials")

    assert "expires_in" not in answer
    assert tokens.is_good(answer["access_token"], 1e12)


def test_every_access_token_can_be_ended():
    tokens = issuer()
    answer = exchange(tokens, grant_type="client_credentials")
    tokens.expire_all()

    assert not tokens.is_good(answer["access_token"], 0.0)


def test_tokens_are_the_same_with_the_same_seed():
    def token(seed):
        return exchange(issuer(seed=seed), grant_type="client_credentials")["access_token"]

    assert token(1) == token(1) != token(2)


def test_credentials_may_come_in_the_header():
    answer = exchange(issuer(), authorization=basic("id", "secret"), grant_type="client_credentials")

    assert "access_token" in answer


def test_the_header_s_halves_are_form_encoded():
    tokens = TokenIssuer("i d", "s:%", lifetime=None, rotate=True, seed=0)

    assert exchange(tokens, authorization=basic("i+d", "s%3A%25"), grant_type="client_credentials")


@pytest.mark.parametrize("authorization", [basic("id", "wrong"), "Basic !", "Basic", "Bearer x", "Basic /w=="])
def test_a_wrong_header_is_an_invalid_client(authorization):
    assert refusal(issuer(), authorization=authorization, grant_type="client_credentials") == (
        "invalid_client",
        401,
    )


def test_credentials_in_two_places_are_refused():
    assert refusal(
        issuer(), authorization=basic("id", "secret"), client_secret="secret", grant_type="client_credentials"
    ) == ("invalid_request", 400)


def test_wrong_credentials_in_the_body_are_an_invalid_client():
    assert refusal(issuer(), client_secret="wrong", grant_type="client_credentials") == ("invalid_client", 401)


def test_an_unknown_and_a_missing_grant_are_refused():
    assert refusal(issuer(), grant_type="password") == ("unsupported_grant_type", 400)
    assert refusal(issuer()) == ("invalid_request", 400)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"grant_type": "client_credentials"}', "application/json"),
        (b"grant_type=a&grant_type=b", FORM),
        (b"\xff", FORM),
    ],
)
def test_what_is_no_proper_form_is_refused(body, content_type):
    with pytest.raises(OAuthError, match="invalid_request"):
        issuer().exchange(body, content_type, "", 0.0)


def test_a_refresh_rotates_and_the_old_token_is_good_until_the_new_one_is_used():
    tokens = issuer()
    old = tokens.new_refresh_token()
    lost = exchange(tokens, grant_type="refresh_token", refresh_token=old)["refresh_token"]
    new = exchange(tokens, grant_type="refresh_token", refresh_token=old)["refresh_token"]
    assert len({old, lost, new}) == 3

    exchange(tokens, grant_type="refresh_token", refresh_token=new)
    assert refusal(tokens, grant_type="refresh_token", refresh_token=old) == ("invalid_grant", 400)


def test_without_rotation_the_refresh_token_stays():
    tokens = issuer(rotate=False)
    token = tokens.new_refresh_token()
    answers = [exchange(tokens, grant_type="refresh_token", refresh_token=token) for _ in range(3)]

    assert not any("refresh_token" in answer for answer in answers)


def test_a_code_is_exchanged_once_with_its_verifier():
    tokens = issuer()
    code = tokens.new_code(0.0, redirect_uri="https://me/cb", scope="a", challenge=s256("verifier"))
    asked = {"code": code, "redirect_uri": "https://me/cb", "code_verifier": "verifier"}
    answer = exchange(tokens, grant_type="authorization_code", **asked)

    assert answer.keys() == {"access_token", "token_type", "expires_in", "refresh_token", "scope"}
    assert refusal(tokens, grant_type="authorization_code", **asked) == ("invalid_grant", 400)


@pytest.mark.parametrize(
    ("changes", "now"),
    [
        ({"code_verifier": "wrong"}, 0.0),
        ({"code_verifier": None}, 0.0),
        ({"redirect_uri": "https://other/cb"}, 0.0),
        ({"code": "unknown"}, 0.0),
        ({}, CODE_LIFETIME),
    ],
)
def test_a_code_is_refused_unless_everything_fits(changes, now):
    tokens = issuer()
    code = tokens.new_code(0.0, redirect_uri="https://me/cb", scope="", challenge=s256("verifier"))
    asked = {"code": code, "redirect_uri": "https://me/cb", "code_verifier": "verifier"} | changes
    asked = {name: value for name, value in asked.items() if value is not None}

    assert refusal(tokens, now, grant_type="authorization_code", **asked) == ("invalid_grant", 400)


def test_a_verifier_that_nothing_asked_for_is_refused():
    tokens = issuer()
    code = tokens.new_code(0.0, redirect_uri="https://me/cb", scope="", challenge=None)

    assert refusal(
        tokens, grant_type="authorization_code", code=code, redirect_uri="https://me/cb", code_verifier="x"
    ) == ("invalid_grant", 400)


def test_the_challenge_is_the_rfc_s():
    # RFC 7636, appendix B.
    assert s256("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk") == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


ASKED = {
    "response_type": "code",
    "client_id": "id",
    "redirect_uri": "https://me/cb?keep=1",
    "state": "s t",
    "code_challenge": s256("verifier"),
    "code_challenge_method": "S256",
}


def redirected(**changes):
    asked = {name: value for name, value in (ASKED | changes).items() if value is not None}
    target = urlsplit(issuer().redirect(urlencode(asked), 0.0))
    return {name: values[0] for name, values in parse_qs(target.query).items()}


def test_consent_redirects_with_code_and_state():
    answer = redirected()

    assert answer.keys() == {"keep", "code", "state"}
    assert answer["state"] == "s t"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"code_challenge_method": None}, "invalid_request"),
    ],
)
def test_what_can_t_be_granted_is_told_to_the_redirect_uri(changes, error):
    assert redirected(**changes)["error"] == error


@pytest.mark.parametrize("changes", [{"client_id": "other"}, {"redirect_uri": "nowhere"}])
def test_an_untrusted_client_is_not_redirected_to(changes):
    with pytest.raises(OAuthError, match="invalid_request"):
        issuer().redirect(urlencode(ASKED | changes), 0.0)
