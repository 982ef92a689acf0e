"""What error bodies say, whatever their shape (CLARUS_API.md §3)."""

import time

import orjson
import pytest

from clarus_async.errors import ErrorDetail
from clarus_async.wire.error_bodies import read_error_body


def faults(document):
    return read_error_body(orjson.dumps(document))


def only(document):
    (detail,) = faults(document)
    return detail


def entry(**fields):
    return only({"errors": [fields]})


def test_the_vendors_shape():
    assert entry(code=123, symbol="product_code_exists", details="is taken", source="name", context={"a": 1}) == (
        ErrorDetail(code=123, symbol="product_code_exists", details="is taken", source="name", context={"a": 1})
    )


def test_the_vendors_shape_with_nulls():
    assert entry(code=1, symbol="s", details="d", source=None, context=None) == ErrorDetail(
        code=1, symbol="s", details="d"
    )


def test_the_shape_of_a_401():
    assert faults({"error": "invalid_token"}) == (ErrorDetail(details="invalid_token"),)


def test_the_shape_of_a_token_endpoint():
    assert faults({"error": "invalid_grant", "error_description": "it is spent"}) == (
        ErrorDetail(symbol="invalid_grant", details="it is spent"),
    )


@pytest.mark.parametrize("description", [None, 1, ["x"]])
def test_a_description_that_is_no_text_is_left_out(description):
    assert faults({"error": "invalid_grant", "error_description": description}) == (
        ErrorDetail(details="invalid_grant"),
    )


def test_the_shape_of_json_api():
    assert entry(status="422", title="Invalid", detail="is taken", source={"pointer": "/data/attributes/name"}) == (
        ErrorDetail(code="422", symbol="Invalid", details="is taken", source="/data/attributes/name")
    )


@pytest.mark.parametrize("member", ["pointer", "parameter", "header"])
def test_a_source_of_json_api_may_be_of_three_kinds(member):
    assert entry(source={member: "x"}).source == "x"


def test_a_code_of_json_api_wins_over_its_status():
    assert entry(status="422", code="taken").code == "taken"


def test_the_shape_of_graphql():
    detail = entry(message="denied", path=["integrations", "all", 0], extensions={"code": "FORBIDDEN", "a": 1})

    assert detail == ErrorDetail(
        code="FORBIDDEN", details="denied", source="integrations/all/0", context={"code": "FORBIDDEN", "a": 1}
    )


def test_errors_by_field():
    assert faults({"errors": {"name": "is taken", "type": ["is", "wrong"]}}) == (
        ErrorDetail(source="name", details="is taken"),
        ErrorDetail(source="type", details='["is","wrong"]'),
    )


@pytest.mark.parametrize(("error", "shown"), [("denied", "denied"), (7, "7"), (["denied"], '["denied"]')])
def test_an_entry_that_is_no_object_is_shown_as_text(error, shown):
    assert only({"errors": [error]}) == ErrorDetail(details=shown)


def test_an_entry_that_is_null_says_nothing():
    assert only({"errors": [None]}) == ErrorDetail()


def test_of_an_entry_without_anything_known_the_text_is_shown():
    assert entry(colour="red") == ErrorDetail(details='{"errors":[{"colour":"red"}]}')


@pytest.mark.parametrize("extensions", [None, "x", ["x"]])
def test_extensions_that_are_no_object_are_left_out(extensions):
    assert entry(message="x", extensions=extensions) == ErrorDetail(details="x")


@pytest.mark.parametrize("context", ["x", 1, ["x"]])
def test_a_context_that_is_no_object_is_left_out(context):
    assert entry(details="x", context=context).context is None


@pytest.mark.parametrize("source", [{}, {"other": 1}, None])
def test_a_source_that_names_nothing_is_left_out(source):
    assert entry(source=source).source is None


@pytest.mark.parametrize(("code", "shown"), [(True, "True"), (1.5, "1.5"), ({"a": 1}, '{"a":1}')])
def test_a_code_that_is_neither_number_nor_text_is_shown_as_text(code, shown):
    assert entry(code=code).code == shown


def test_a_code_of_0_is_a_code():
    assert entry(code=0, symbol="s", details="d").code == 0


@pytest.mark.parametrize("document", [{}, {"errors": []}, {"errors": {}}, {"error": None}, {"colour": [{}, None]}])
def test_an_object_that_says_nothing_gives_no_details(document):
    assert faults(document) == ()


def test_errors_that_are_one_text_are_shown():
    assert only({"errors": "denied"}).details == "denied"


@pytest.mark.parametrize("body", [b"", b" \r\n\t "])
def test_an_empty_body_gives_no_details(body):
    assert read_error_body(body) == ()


@pytest.mark.parametrize("document", [None, "denied", 7, ["denied"]])
def test_json_that_is_no_object_is_shown_as_it_came(document):
    assert only(document).details == orjson.dumps(document).decode()


@pytest.mark.parametrize(
    "body",
    [
        b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>",
        b'<HTML><TITLE lang="en">\n 502 Bad\n Gateway </TITLE>',
        b"<!doctype html><title>502 Bad Gateway",
        b"<html><title> </title><h1 class=x>502 Bad Gateway</h1>",
        b"<h1>502 Bad Gateway</h1><p>sorry",
    ],
)
def test_of_a_proxys_page_the_title_is_shown(body):
    assert read_error_body(body) == (ErrorDetail(details="an HTML page: 502 Bad Gateway"),)


def test_a_page_without_a_title_is_shown_as_text():
    assert read_error_body(b"<html>\n<b>down</b></html>") == (ErrorDetail(details="<html> <b>down</b></html>"),)


def test_text_is_shown_on_one_line():
    assert read_error_body(b" upstream\r\n  timed out\n") == (ErrorDetail(details="upstream timed out"),)


NICHT = "Zugriff verweigert für „Käufer“"


@pytest.mark.parametrize(
    "body",
    [
        NICHT.encode(),
        NICHT.encode("utf-8-sig"),
        NICHT.encode("utf-16"),
        b"\xfe\xff" + NICHT.encode("utf-16-be"),
    ],
    ids=["utf-8", "with a mark", "utf-16", "utf-16-be"],
)
@pytest.mark.parametrize("wrap", [b"%b", None], ids=["text", "json"])
def test_a_text_in_any_common_encoding_is_read(body, wrap):
    if wrap is None:
        mark = next((m for m in (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff") if body.startswith(m)), b"")
        encoding = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}.get(mark, "utf-8")
        body = mark + '{"message": "'.encode(encoding) + body.removeprefix(mark) + '"}'.encode(encoding)
    assert read_error_body(body) == (ErrorDetail(details=NICHT),)


@pytest.mark.parametrize("body", [b"caf\xe9 ferm\xe9", b'{"message": "caf\xe9 ferm\xe9"}'])
def test_what_is_no_utf_8_is_read_as_latin_1(body):
    assert read_error_body(body) == (ErrorDetail(details="café fermé"),)


def test_what_is_cut_within_a_character_is_utf_8_all_the_same():
    assert read_error_body("für Käufer geschloß".encode()[:-1]) == (ErrorDetail(details="für Käufer geschlo"),)


def test_utf_16_without_a_mark_is_read_where_it_is_ascii():
    assert read_error_body("denied".encode("utf-16-le")) == (ErrorDetail(details="denied"),)


PROBLEM = {
    "type": "https://example.com/probs/out-of-credit",
    "title": "You do not have enough credit.",
    "status": 403,
    "detail": "Your current balance is 30, but that costs 50.",
    "instance": "/account/12345/msgs/abc",
}
"""The example of RFC 9457, section 3."""


@pytest.mark.parametrize(
    ("document", "details"),
    [
        # RFC 9457
        (
            PROBLEM,
            [ErrorDetail(symbol=PROBLEM["title"], details=PROBLEM["detail"], source=PROBLEM["instance"])],
        ),
        ({"type": "about:blank", "title": "Forbidden", "status": 403}, [ErrorDetail(symbol="Forbidden")]),
        ({"title": "Odd", "type": "urn-like", "detail": None}, [ErrorDetail(symbol="Odd")]),
        (
            {"title": "T", "invalid-params": [{"name": "age", "reason": "must be positive"}]},
            [ErrorDetail(symbol=None, details="must be positive", source="age")],
        ),
        (
            PROBLEM | {"errors": [{"detail": "must be positive", "pointer": "#/age"}]},
            [ErrorDetail(details="must be positive", source="#/age")],
        ),
        # ASP.NET, Laravel
        (
            {"title": "One or more validation errors occurred.", "status": 400, "errors": {"Name": ["is taken"]}},
            [ErrorDetail(source="Name", details='["is taken"]')],
        ),
        ({"message": "was invalid", "errors": {}}, [ErrorDetail(details="was invalid")]),
        ({"message": "was invalid", "errors": [{}]}, [ErrorDetail(details="was invalid")]),
        # one text
        ({"message": "denied"}, [ErrorDetail(details="denied")]),
        ({"Message": "User is not authorized"}, [ErrorDetail(details="User is not authorized")]),
        ({"detail": "Not found."}, [ErrorDetail(details="Not found.")]),
        ({"title": "Conflict"}, [ErrorDetail(symbol="Conflict")]),
        ({"msg": "denied", "code": 40301}, [ErrorDetail(code=40301, details="denied")]),
        ({"error_description": "it is spent"}, [ErrorDetail(details="it is spent")]),
        ({"status": 500, "errorCode": "E7", "errorMessage": "x"}, [ErrorDetail(code="E7", details="x")]),
        # an error as an object
        (
            {"error": {"code": 403, "message": "denied", "status": "PERMISSION_DENIED", "details": [{"a": 1}]}},
            [ErrorDetail(code=403, details="denied")],
        ),
        (
            {"error": {"message": "no access", "type": "OAuthException", "code": 190}},
            [ErrorDetail(code=190, symbol="OAuthException", details="no access")],
        ),
        ({"error": [{"message": "a"}, {"message": "b"}]}, [ErrorDetail(details="a"), ErrorDetail(details="b")]),
        ({"error": {"errors": [{"reason": "quota"}]}}, [ErrorDetail(details="quota")]),
        ({"error": {"error": {"error": {"error": {"error": 1}}}}}, [ErrorDetail(details='{"error":1}')]),
        # gateways
        ({"fault": "denied"}, [ErrorDetail(details="denied")]),
        (
            {"fault": {"faultstring": "Invalid token", "detail": {"errorcode": "oauth.v2.InvalidToken"}}},
            [ErrorDetail(details="Invalid token")],
        ),
        # FastAPI
        (
            {"detail": [{"loc": ["body", "data", 0], "msg": "Field required", "type": "missing"}]},
            [ErrorDetail(symbol="missing", details="Field required", source="body/data/0")],
        ),
        ({"detail": {"message": "denied"}}, [ErrorDetail(details="denied")]),
        # Django REST framework
        (
            {"name": ["This field is required."], "non_field_errors": ["a", "b"]},
            [ErrorDetail(source="name", details="This field is required."), ErrorDetail(details="a; b")],
        ),
        # Spring
        (
            {"timestamp": "2026-01-10", "status": 400, "error": "Bad Request", "message": "bad name", "path": "/x"},
            [ErrorDetail(symbol="Bad Request", details="bad name")],
        ),
        # Salesforce
        ([{"errorCode": "INVALID_FIELD", "message": "No such column"}], [
            ErrorDetail(code="INVALID_FIELD", details="No such column"),
        ]),
        # JSON in a text
        ({"message": '{"error": {"message": "denied"}}'}, [ErrorDetail(details="denied")]),
        ({"error": '[{"code": 7, "message": "denied"}]'}, [ErrorDetail(details="7: denied")]),
        ({"message": "{not JSON"}, [ErrorDetail(details="{not JSON")]),
        ({"message": '{"message": "{\\"message\\": \\"denied\\"}"}'}, [ErrorDetail(details="denied")]),
        # nothing of the kind
        ({"colour": "red", "none": None}, [ErrorDetail(details='{"colour":"red"}')]),
        ({"access_token": "x", "colour": "red"}, [ErrorDetail(details='{"access_token":"***","colour":"red"}')]),
        ({"colour": ["red", 1]}, [ErrorDetail(details='{"colour":["red",1]}')]),
    ],
)  # fmt: skip
def test_every_common_form_is_read(document, details):
    assert list(faults(document)) == details


@pytest.mark.parametrize(
    ("challenge", "shown"),
    [
        ('Bearer error="insufficient_scope", error_description="needs write"', "insufficient_scope: needs write"),
        ('Bearer realm="x",error=invalid_token', "invalid_token"),
        ('Basic realm="x", Bearer error_description="it \\"ended\\""', 'it "ended"'),
        ('BEARER ERROR = "invalid_token"', "invalid_token"),
    ],
)
def test_an_empty_answer_is_explained_by_its_challenge(challenge, shown):
    (detail,) = read_error_body(b"", (), challenge)

    assert str(detail) == shown


@pytest.mark.parametrize("challenge", [None, "", "Bearer", 'Bearer realm="error"', "error", 'Bearer error="'])
def test_a_challenge_that_explains_nothing_gives_no_details(challenge):
    assert read_error_body(b"", (), challenge) == ()


@pytest.mark.parametrize("challenge", ["a" * 8000, "a " * 4000, "a" + " " * 8000, 'a="' + "\\" * 8000], ids=len)
def test_a_challenge_that_goes_on_for_ever_takes_no_time(challenge):
    began = time.thread_time()
    assert read_error_body(b"", (), challenge) == ()
    assert time.thread_time() - began < 0.1


def test_a_body_that_says_something_counts_more_than_the_challenge():
    (detail,) = read_error_body(b'{"message": "denied"}', (), 'Bearer error="invalid_token"')

    assert detail == ErrorDetail(details="denied")


@pytest.mark.parametrize("body", [b"error=bad_code&error_description=it+is+spent", b"error_description=it+is+spent"])
def test_a_form_is_read(body):
    (detail,) = read_error_body(body)

    assert detail.details == "it is spent"


def test_no_more_than_20_entries_are_kept():
    assert len(faults({"errors": [{"code": n} for n in range(100)]})) == 20
    assert len(faults({"errors": {f"f{n}": "x" for n in range(100)}})) == 20


@pytest.mark.parametrize(
    "body",
    [
        b"x" * 10_000,
        orjson.dumps({"error": "x" * 10_000}),
        orjson.dumps({"error": {"a": "x" * 10_000}}),
        orjson.dumps({"errors": [{"details": "x" * 10_000}]}),
        orjson.dumps({"errors": ["x" * 10_000]}),
        orjson.dumps({"errors": {"a": "x" * 10_000}}),
    ],
)
def test_no_more_than_500_characters_of_a_text_are_kept(body):
    (detail,) = read_error_body(body)

    assert len(detail.details) == 500
    assert detail.details.endswith("…")


def test_a_text_of_500_characters_is_kept_whole():
    assert only({"error": "x" * 500}).details == "x" * 500


@pytest.mark.parametrize(
    "body",
    [
        b'{"error": %b}',
        b'{"errors": [%b]}',
        b'{"errors": {"a": %b}}',
        b'{"errors": [{"details": %b}]}',
        b'{"errors": [{"path": [%b]}]}',
    ],
)
@pytest.mark.parametrize("depth", [200, 1_000])
def test_a_body_that_nests_as_deep_as_json_goes_is_read(body, depth):
    assert len(read_error_body(body % (b"[" * depth + b"]" * depth))) == 1


@pytest.mark.parametrize("text", ["\x1b[2Jgone", "a\x00b", "a\x08b", "a\u202eb"])
def test_a_text_holds_nothing_that_a_terminal_obeys(text):
    assert only({"error": text}).details.isprintable()
