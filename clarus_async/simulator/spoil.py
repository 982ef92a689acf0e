"""Answers of requests that got a fault. Pure: ``.shell`` delivers them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import datetime
from email.utils import formatdate
from typing import Any, Final

import attrs
import orjson

from clarus_async.simulator.documents import Answer, json_answer, page, problem, problems, unauthorized
from clarus_async.simulator.faults import Fault, FaultKind
from clarus_async.simulator.log import LoggedRequest


def _retry_after(fault: Fault, now: datetime) -> dict[str, str]:
    if fault.retry_after is None:
        return {}
    if fault.retry_after_date:
        # A date has whole seconds: rounded up, so that it is never sooner than asked for.
        return {"Retry-After": formatdate(math.ceil(now.timestamp() + fault.retry_after), usegmt=True)}
    seconds = fault.retry_after
    return {"Retry-After": str(int(seconds) if float(seconds).is_integer() else seconds)}


def _server_error(fault: Fault, now: datetime) -> Answer:
    status = fault.status or 500
    answer = json_answer({"status": status, "error": "Something went wrong"}, status)
    return attrs.evolve(answer, headers=_retry_after(fault, now))


def _json_api_error(entry: LoggedRequest) -> Answer:
    """Quote the first configuration value that was sent, as careless servers do."""
    pointer, quoted = "/data/attributes/name", ""
    try:
        configuration = orjson.loads(entry.body)["data"]["attributes"]["configuration"]
        key, value = next(iter(configuration.items()))
    except (orjson.JSONDecodeError, LookupError, TypeError, AttributeError, StopIteration):
        pass
    else:
        pointer, quoted = f"/data/attributes/configuration/{key}", f": {value}"
    error = {
        "status": "422",
        "title": "Invalid Attribute",
        "detail": f"is not acceptable{quoted}",
        "source": {"pointer": pointer},
    }
    return Answer(
        status=422, body=orjson.dumps({"errors": [error]}), content_type="application/vnd.api+json; charset=utf-8"
    )


def answer_instead(fault: Fault, entry: LoggedRequest, now: datetime) -> Answer | None:
    """Return the answer of a fault that keeps a request from being served; ``None`` for any other fault."""
    match fault.kind:
        case FaultKind.ERROR_BEFORE:
            return _server_error(fault, now)
        case FaultKind.HTML_502:
            return page(502, "Bad Gateway")
        case FaultKind.GATEWAY_TIMEOUT:
            return page(fault.status or 503, "Backend fetch failed", _retry_after(fault, now))
        case FaultKind.UNAVAILABLE:
            return page(503, "Service Temporarily Unavailable", _retry_after(fault, now))
        case FaultKind.RATE_LIMITED:
            return page(429, "Too Many Requests", _retry_after(fault, now))
        case FaultKind.REDIRECT:
            return page(fault.status or 302, "Moved", {"Location": fault.location or "/elsewhere"})
        case FaultKind.UNAUTHORIZED:
            return unauthorized("The session has ended")
        case FaultKind.FORBIDDEN:
            return problems(403, problem("forbidden", "forbidden", "You are not allowed to do this"))
        case FaultKind.JSON_API_ERROR:
            return _json_api_error(entry)
    return None


def answer_after(fault: Fault, answer: Answer, now: datetime) -> Answer:
    """Return what a fault makes of the answer to a request that was served."""
    if fault.kind is FaultKind.ERROR_AFTER:
        return _server_error(fault, now)
    # An answer that has no body becomes one that could have; a refusal stays one.
    status = 200 if answer.status == 204 else answer.status
    match fault.kind:
        case FaultKind.NOT_JSON:
            return Answer(status=status, body=b"OK, that is done.", headers=answer.headers)
        case FaultKind.OVERSIZED:
            return Answer(status=status, body=answer.body, headers=answer.headers)
        case FaultKind.GRAPHQL_ERRORS:
            document = orjson.loads(answer.body)
            path = [next(iter(document.get("data") or ()), None), "all", "edges"]
            error = {"message": "Something went wrong while reading", "path": path}
            document["errors"] = [*document.get("errors", ()), error]
            _in_edges(document.get("data"), lambda edges: edges[: len(edges) // 2])
            return attrs.evolve(answer, body=orjson.dumps(document))
        case FaultKind.ODD_ROWS:
            document = orjson.loads(answer.body)
            _in_edges(document.get("data"), _spoil_rows)
            return attrs.evolve(answer, body=orjson.dumps(document))
    return answer


def _spoil_rows(edges: list[Any]) -> list[Any]:
    nodes = [edge["node"] for edge in edges if isinstance(edge, dict) and isinstance(edge.get("node"), dict)]
    # A record of a form that is older than the schema, say: what it never had is null.
    for node, odd in zip([*nodes[:1], *nodes[1:][-1:]], (_ODD, _ODDER), strict=False):
        node |= {name: value for name, value in odd.items() if name in node}
    return edges


_ODD: Final[Mapping[str, Any]] = {"created_at": None, "enabled": 1, "status": {"code": 7}, "description": 7}
_ODDER: Final[Mapping[str, Any]] = {"created_at": "2026-01-10", "name": None, "code": None, "enabled": "yes"}


def _in_edges(value: Any, change: Callable[[list[Any]], list[Any]]) -> None:  # noqa: ANN401
    """Change every list of edges below ``value``."""
    if isinstance(value, dict):
        for key, below in value.items():
            if key == "edges" and isinstance(below, list):
                value[key] = change(below)
            else:
                _in_edges(below, change)
