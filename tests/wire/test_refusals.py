"""Why a GraphQL server refused a document: for good, for its size, or for this time only."""

import orjson
import pytest

from clarus_async.errors import (
    AuthenticationError,
    BadRequestError,
    GraphQLError,
    RateLimitedError,
    ServerError,
    ValidationError,
)
from clarus_async.wire.error_bodies import read_error_body
from clarus_async.wire.graphql import read_answer
from clarus_async.wire.refusals import (
    concerns_rows,
    refuses_document,
    refuses_introspection,
    refuses_size,
)


def error(*entries, cls=GraphQLError, **more):
    return cls("x", errors=read_error_body(orjson.dumps({"errors": entries})), path="/graphql", **more)


def said(message, code=None, **more):
    return {"message": message, **({} if code is None else {"extensions": {"code": code}}), **more}


TOO_LARGE = [
    said("Query cost is 2003, which exceeds the single query max cost limit (1000).", "MAX_COST_EXCEEDED"),
    {
        "type": "EXCESSIVE_PAGINATION",
        "message": "Requesting 101 records on the `issues` connection exceeds the `first` limit of 100 records.",
    },
    {"type": "MAX_NODE_LIMIT_EXCEEDED", "message": "This query requests up to 1,000,000 possible nodes"},
    said("Field 'integrations' has complexity of 201, which exceeds max complexity of 200"),
    said("Query has complexity of 310, which exceeds max complexity of 300"),
    said("The query exceeds the maximum cost of 100. Actual cost is 201"),
    said("The query is too complex: 201. Maximum allowed complexity: 200"),
    said("Syntax Error: Query Cost limit of 5000 exceeded, found 5123."),
    said("Operation is too complex: complexity is 201 and maximum is 200"),
    said("maximum query complexity exceeded 201 > 200"),
    said("Max query complexity should be 100 but got 201."),
    said("Maximum number of 50 requested items exceeded. Fetch smaller chunks."),
    said("The maximum allowed field cost was exceeded.", "HC0047"),
    said("The maximum allowed items per page were exceeded.", "HC0051"),
    said("Query cannot be executed. The maximum allowed complexity is 11000 but it was 15050.", "TOO_COMPLEX_QUERY"),
    said("Argument 'first' cannot be higher than 50."),
    said("first must be at most 50"),
    said("`first` must be between 1 and 50"),
    said("page size is greater than max page size"),
]


@pytest.mark.parametrize("entry", TOO_LARGE, ids=lambda entry: entry["message"][:40])
@pytest.mark.parametrize("cls", [GraphQLError, BadRequestError])
def test_a_query_that_costs_too_much_is_known(entry, cls):
    assert refuses_size(error(entry, cls=cls))


@pytest.mark.parametrize(("cls", "status"), [(BadRequestError, 400), (ServerError, 500)])
def test_apollo_server_calls_whatever_a_plugin_throws_an_internal_error(cls, status):
    told = said("Query is too complex: 1301. Maximum allowed complexity: 300", "INTERNAL_SERVER_ERROR")

    assert refuses_size(error(told, cls=cls, status=status, retryable=status == 500))


@pytest.mark.parametrize(
    ("status", "message"),
    [(500, "Internal server error"), (500, ""), (503, "too complex for now"), (500, "timed out: too complex")],
)
def test_what_may_heal_is_no_refusal_of_a_size(status, message):
    assert not refuses_size(
        error(said(message, "INTERNAL_SERVER_ERROR"), cls=ServerError, status=status, retryable=True)
    )


REFUSED = [
    said("PersistedQueryNotFound", "PERSISTED_QUERY_NOT_FOUND"),
    said("PersistedQueryNotSupported", "PERSISTED_QUERY_NOT_SUPPORTED"),
    said("PersistedQueryOnly"),
    said("Only persisted queries are allowed"),
    said("only trusted documents can be executed"),
    said("The operation is not allowed to be executed"),
    said("The operation is not in the safelist", "QUERY_NOT_IN_SAFELIST"),
    said("denied", "FORBIDDEN"),
    said("log in first", "UNAUTHENTICATED"),
    said("anything", "GRAPHQL_VALIDATION_FAILED"),
    said("Syntax Error: Unexpected Name 'x'.", "GRAPHQL_PARSE_FAILED"),
    said("Syntax Error: Unexpected Name 'x'."),
    said("Cannot query field 'enabled' on type 'Integration'."),
    said("Field 'enabled' doesn't exist on type 'Integration'", "undefinedField"),
    said("Unknown type 'IntegrationFilterType'."),
    said("Field 'all' doesn't accept argument 'first'", "argumentNotAccepted"),
    said("InputObject 'IntegrationFilterType' doesn't accept argument 'external_system_reference1'"),
    said('Variable "$first" is not defined.'),
    said("IntegrationFilterType isn't a defined input type (on $filter)", "variableRequiresValidType"),
]


@pytest.mark.parametrize("entry", REFUSED, ids=lambda entry: entry["message"][:40])
@pytest.mark.parametrize("cls", [GraphQLError, BadRequestError, ValidationError])
def test_a_document_that_is_refused_for_good_is_known(entry, cls):
    assert refuses_document(error(entry, cls=cls))
    assert refuses_introspection(error(entry, cls=cls))


@pytest.mark.parametrize(
    "entry",
    [
        said("Something went wrong"),
        said("Internal server error", "INTERNAL_SERVER_ERROR"),
        said("Throttled: the cost of this query exceeds what is left", "THROTTLED"),
        said("API rate limit exceeded, too complex", "RATE_LIMITED"),
        said("the request timed out: too complex"),
        said("Service unavailable", "FORBIDDEN"),
        said("a forbidden word"),
        said("the cursor does not exist"),
        {},
    ],
    ids=str,
)
def test_what_may_heal_is_no_refusal(entry):
    for refuses in (refuses_document, refuses_size, refuses_introspection):
        assert not refuses(error(entry))


@pytest.mark.parametrize("cls", [ServerError, RateLimitedError])
def test_a_status_that_may_heal_is_no_refusal_whatever_it_says(cls):
    for refuses in (refuses_document, refuses_size, refuses_introspection):
        assert not refuses(error(REFUSED[0], TOO_LARGE[0], cls=cls, retryable=True))


@pytest.mark.parametrize("entry", [TOO_LARGE[0], REFUSED[0]])
def test_what_another_path_says_is_no_refusal_of_a_document(entry):
    told = error(entry, cls=ValidationError)
    told.path = "/api/integrations"

    for refuses in (refuses_document, refuses_size, refuses_introspection):
        assert not refuses(told)


def test_what_no_server_said_is_no_refusal():
    for refuses in (refuses_document, refuses_size, refuses_introspection, concerns_rows):
        assert not refuses(AuthenticationError("FORBIDDEN, too complex"))
    assert not concerns_rows(GraphQLError("no details"))


@pytest.mark.parametrize(
    "entry", [TOO_LARGE[0], said("GraphQL introspection has been disabled"), said("the query exceeds the depth limit")]
)
def test_introspection_may_be_refused_for_more(entry):
    assert refuses_introspection(error(entry))


@pytest.mark.parametrize("cls", [BadRequestError, ValidationError])
def test_introspection_is_refused_by_any_refusal_of_the_request(cls):
    assert refuses_introspection(error({}, cls=cls))


ROW = ["integrations", "all", "edges", 3, "node", "created_at"]


def test_an_error_within_rows_concerns_rows():
    assert concerns_rows(error(said("null", path=ROW), said("null", path=ROW[:4])))


@pytest.mark.parametrize("path", [ROW[:3], ROW[:2], [], None])
def test_any_other_error_concerns_more_than_rows(path):
    assert not concerns_rows(error(said("null", path=ROW), said("null", path=path)))


# What was executed of a document.


def executed(document):
    return read_answer(orjson.dumps(document)).executed


@pytest.mark.parametrize(
    "document",
    [
        {"errors": [said("Syntax Error", "GRAPHQL_PARSE_FAILED")]},
        {"errors": [said("x", "GRAPHQL_VALIDATION_FAILED"), said("y", "GRAPHQL_VALIDATION_FAILED")]},
        {"errors": [said("x", "GRAPHQL_VALIDATION_FAILED")], "data": None},
        {"errors": [said("PersistedQueryNotFound", "PERSISTED_QUERY_NOT_FOUND")], "data": None},
        {"errors": [said('Variable "$id" got invalid value', "BAD_USER_INPUT")]},
        {"errors": [said("Cannot query field 'x'", locations=[{"line": 1, "column": 3}])]},
    ],
    ids=str,
)
def test_a_request_error_executes_nothing(document):
    assert not executed(document)


@pytest.mark.parametrize(
    "document",
    [
        {"errors": [said("x")], "data": None},
        {"errors": [said("x", path=["createShop"])]},
        {"errors": [said("x", "GRAPHQL_VALIDATION_FAILED", path=["createShop"])], "data": None},
        {"errors": [said("x", "GRAPHQL_VALIDATION_FAILED")], "data": {"createShop": None}},
        {"errors": [said("x", "GRAPHQL_VALIDATION_FAILED"), said("y")], "data": None},
        {"errors": [said("x", "BAD_USER_INPUT")], "data": None},
        {"errors": [said("Internal server error")]},
        {"errors": [said("x", "INTERNAL_SERVER_ERROR")]},
        {"errors": [said("execution timed out")]},
        {"data": {"a": 1}},
        {"errors": "denied"},
        {"errors": [said("slow down", "THROTTLED_BY_COST")]},
        {"errors": [said("deadlock detected")]},
        {"errors": [said("read ECONNRESET")]},
        {"errors": [said("http exception when calling webhook")]},
    ],
    ids=str,
)
def test_anything_else_may_have_executed_something(document):
    assert executed(document)
