"""Why a GraphQL server refused a document: for good, for its size, or for this time only.

The specification (section 7.1) tells a request error, which comes before anything is executed, from a field's; what a
refusal is called, it leaves to the servers. What they write is read here, from graphql-js, graphql-core, graphql-ruby,
graphql-java, Hot Chocolate and Absinthe to the API's of Shopify, GitHub, GitLab and Contentful.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from clarus_async.errors import ApiError, ClarusError, ErrorDetail, GraphQLError

_PATH: Final = "/graphql"
_NOT_VALID: Final = (
    r"GRAPHQL_(PARSE|VALIDATION)_FAILED|PERSISTED_?QUERY|OPERATION_RESOLUTION_FAILURE|QUERY_NOT_IN_SAFELIST"
)
_NEVER_BEGUN: Final = (
    rf"{_NOT_VALID}|BAD_USER_INPUT|^(syntax|parse) error|^unknown (type|argument|fragment|operation|directive|field)"
    r"|^cannot query field|^validation error|(doesn't|does not) accept argument|isn't a defined|^variable \"?\$"
)
_NOT_ALLOWED: Final = r"FORBIDDEN|UNAUTHORIZED|UNAUTHENTICATED|ACCESS_DENIED"
_IN_WORDS: Final = (
    # Persisted, trusted, safelisted documents only.
    r"persisted ?(query|document|operation)|only (persisted|trusted|allowed|safelisted|registered)"
    r"|(allow|safe|white)-?list|not (allowed|permitted) to be executed"
    # Not parsed, not valid.
    r"|^(syntax|parse) error|^unknown (type|argument|fragment|operation|directive|field)|^cannot query field"
    r"|^validation error|(doesn't|does not) accept argument|isn't a defined|is not defined"
    r"|\b(field|type|argument|variable|input)\b.*(doesn't|does not) exist"
)
_SIZES: Final = r"(first|pages?|page_?size|pagination|records|items|nodes|limit|elements|values)"
_TOO_LARGE: Final = (
    r"complex|MAX_COST|\bcost\b|EXCESSIVE_PAGINATION|NODE_LIMIT|HC0047|HC0051|too (large|many|big|expensive)"
    # "first must be at most 50", "the maximum number of 50 requested items": a size and a limit, in either order.
    rf"|\b{_SIZES}\b.*(exceed|at most|max|greater|higher|less than|smaller|between|no more|bigger|larger)"
    rf"|(exceed|at most|max|no more than)\w*\b.*\b{_SIZES}\b"
)
_INTROSPECTION: Final = r"introspect|__schema|too deep|depth"
_MIDWAY: Final = r"time.?d? ?out|INTERNAL_|internal (server )?error|unexpected error|went wrong|unavailable"
_FOR_NOW: Final = rf"THROTTLED|rate.?limit|too many requests|try again|{_MIDWAY}"
_ROW: Final = r"(^|/)edges/\d+(/|$)"


# What Apollo Server calls any error that nobody gave a code.
_NO_CODE: Final = "INTERNAL_SERVER_ERROR"


def _says(pattern: str, detail: ErrorDetail) -> bool:
    return _is_called(pattern, detail) or re.search(pattern, detail.details or "", re.IGNORECASE) is not None


def _is_called(pattern: str, detail: ErrorDetail) -> bool:
    names = (detail.code, detail.symbol)
    return any(re.search(pattern, name, re.IGNORECASE) for name in names if isinstance(name, str))


def _for_good(pattern: str, error: ClarusError, *, called: str | None = None, even_as_500: bool = False) -> bool:
    if isinstance(error, ApiError):
        if error.path != _PATH or (error.retryable and not (even_as_500 and error.status == 500)):
            return False
    elif not isinstance(error, GraphQLError):
        return False
    for detail in error.errors:
        said = attrs.evolve(detail, code=None) if detail.details and detail.code == _NO_CODE else detail
        if _says(_FOR_NOW, said):
            return False
    return any(_says(pattern, detail) or (called and _is_called(called, detail)) for detail in error.errors)


def refuses_document(error: ClarusError) -> bool:
    """Whether a server will not execute a document, whenever it is asked: it is not valid, or not allowed.

    Args:
        error: what ended the call.
    """
    return _for_good(f"{_NOT_VALID}|{_IN_WORDS}", error, called=_NOT_ALLOWED)


def refuses_size(error: ClarusError) -> bool:
    """Whether a server refuses a query for its cost, or for how much it asks for.

    Args:
        error: what ended the call.
    """
    # Apollo Server answers 500 to what a plugin throws, and a plugin is what measures complexity there.
    return _for_good(_TOO_LARGE, error, even_as_500=True)


def refuses_introspection(error: ClarusError) -> bool:
    """Whether a server will not tell its schema, whenever it is asked.

    Args:
        error: what ended the call.
    """
    # What a 4xx calls it is not documented (CLARUS_API.md §3).
    definite = isinstance(error, ApiError) and not error.retryable and error.path == _PATH
    return definite or refuses_document(error) or refuses_size(error) or _for_good(_INTROSPECTION, error)


def concerns_rows(error: ClarusError) -> bool:
    """Whether an answer has errors only within rows, such as one that lacks what the schema says it has.

    Args:
        error: what ended the call.
    """
    if not isinstance(error, GraphQLError) or not error.errors:
        return False
    return all(detail.source is not None and re.search(_ROW, detail.source) for detail in error.errors)


def not_executed(document: Mapping[str, Any], errors: Sequence[ErrorDetail]) -> bool:
    """Whether an answer with errors says that nothing of the document was executed.

    Args:
        document: the answer.
        errors: those that it reports.
    """
    # A path leads to a field that was being executed.
    if any(detail.source is not None for detail in errors) or document.get("data") is not None:
        return False
    # That there is no data at all, not even null, is no proof: not every server that failed midway leaves a null there.
    began = "data" in document
    return bool(errors) and all(_says(_NOT_VALID if began else _NEVER_BEGUN, detail) for detail in errors)
