"""Why a GraphQL server refused a document: permanently, for its size, or only this time.

The specification (section 7.1) distinguishes request errors, raised before anything is executed, from field errors, but
leaves their codes to the servers. The patterns here are those of graphql-js, graphql-core, graphql-ruby, graphql-java,
Hot Chocolate and Absinthe, and of the APIs of Shopify, GitHub, GitLab and Contentful.
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
_NOT_STARTED: Final = (
    rf"{_NOT_VALID}|BAD_USER_INPUT|^(syntax|parse) error|^unknown (type|argument|fragment|operation|directive|field)"
    r"|^cannot query field|^validation error|(doesn't|does not) accept argument|isn't a defined|^variable \"?\$"
)
_NOT_ALLOWED: Final = r"FORBIDDEN|UNAUTHORIZED|UNAUTHENTICATED|ACCESS_DENIED"
_IN_WORDS: Final = (
    # Only persisted, trusted or safelisted documents are executed.
    r"persisted ?(query|document|operation)|only (persisted|trusted|allowed|safelisted|registered)"
    r"|(allow|safe|white)-?list|not (allowed|permitted) to be executed"
    # The document does not parse, or is not valid.
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
_TEMPORARY: Final = rf"THROTTLED|rate.?limit|too many requests|try again|{_MIDWAY}"
_ROW: Final = r"(^|/)edges/\d+(/|$)"


# Apollo Server's code of every error that was given none.
_NO_CODE: Final = "INTERNAL_SERVER_ERROR"


def _mentions(pattern: str, detail: ErrorDetail) -> bool:
    return _has_code(pattern, detail) or re.search(pattern, detail.details or "", re.IGNORECASE) is not None


def _has_code(pattern: str, detail: ErrorDetail) -> bool:
    names = (detail.code, detail.symbol)
    return any(re.search(pattern, name, re.IGNORECASE) for name in names if isinstance(name, str))


def _permanent(pattern: str, error: ClarusError, *, called: str | None = None, even_as_500: bool = False) -> bool:
    if isinstance(error, ApiError):
        if error.path != _PATH or (error.retryable and not (even_as_500 and error.status == 500)):
            return False
    elif not isinstance(error, GraphQLError):
        return False
    for detail in error.errors:
        said = attrs.evolve(detail, code=None) if detail.details and detail.code == _NO_CODE else detail
        if _mentions(_TEMPORARY, said):
            return False
    return any(_mentions(pattern, detail) or (called and _has_code(called, detail)) for detail in error.errors)


def refuses_document(error: ClarusError) -> bool:
    """Whether a server will never execute a document: it is not valid, or not allowed."""
    return _permanent(f"{_NOT_VALID}|{_IN_WORDS}", error, called=_NOT_ALLOWED)


def refuses_size(error: ClarusError) -> bool:
    """Whether a server refuses a query for its cost, or for how much it asks for."""
    # Complexity is measured by a plugin in Apollo Server, which answers 500 to what a plugin throws.
    return _permanent(_TOO_LARGE, error, even_as_500=True)


def refuses_introspection(error: ClarusError) -> bool:
    """Whether a server will never show its schema."""
    # The codes of a 4xx are not documented (CLARUS_API.md §3).
    definite = isinstance(error, ApiError) and not error.retryable and error.path == _PATH
    return definite or refuses_document(error) or refuses_size(error) or _permanent(_INTROSPECTION, error)


def concerns_rows(error: ClarusError) -> bool:
    """Whether all errors of an answer are within rows, such as a field that is null against the schema."""
    if not isinstance(error, GraphQLError) or not error.errors:
        return False
    return all(detail.source is not None and re.search(_ROW, detail.source) for detail in error.errors)


def not_executed(document: Mapping[str, Any], errors: Sequence[ErrorDetail]) -> bool:
    """Whether an answer with errors proves that nothing of the document was executed."""
    # An error with a path was raised by a field that was being executed.
    if any(detail.source is not None for detail in errors) or document.get("data") is not None:
        return False
    # Data that is missing, rather than null, proves nothing: not every server that failed midway writes null.
    began = "data" in document
    return bool(errors) and all(_mentions(_NOT_VALID if began else _NOT_STARTED, detail) for detail in errors)
