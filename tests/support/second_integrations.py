"""The integrations of the second server over REST and GraphQL, and what may differ."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Literal, NamedTuple

from tests.support.second_entities import Entities
from tests.support.second_graphql import RefusedError, Schema


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dialect:
    """What a server may do either way; the defaults are the plainest reading of the document."""

    create_status: int = 200
    string_ids: bool = False
    wrapped: bool = True  # in "data", else a bare object
    entities_wrapped: bool = False
    unset_as_null: bool = True  # else what is not set is left out
    unknown_fields: bool = False
    active_unless_told: bool | None = True
    configuration_merges: bool = False
    unique_references: bool = False
    jsonapi_errors: bool = False  # status, title, detail, source.pointer
    unknown_tenant: int = 403
    idle_synchronize: bool = True  # of an integration that is not active, else 422
    default_page: int = 100
    largest_page: int = 100
    newest_first: bool = False
    references: bool = False  # in the GraphQL schema
    introspection: Literal["yes", "errors", "400"] = "yes"
    null_data: bool = False  # beside GraphQL errors
    type_as_given: bool = False  # GraphQL's integration_type is what REST was given, else a category
    zone: timezone = UTC
    expires_in: int | str | None = 3600
    rotates: bool = False  # a refresh token is good for one use
    basic_only: bool = False  # the token endpoint wants the secret in a header (RFC 6749, section 2.3.1)
    chunked: bool = False
    gzip: bool = False  # where it is accepted
    early_hints: bool = False
    date: bool = True
    retry_at: bool = False  # Retry-After as a date
    case: Callable[[str], str] = str.title  # of header names
    headers: tuple[str, ...] = ()


PLAIN = Dialect()
OTHER = Dialect(
    create_status=201,
    string_ids=True,
    wrapped=False,
    entities_wrapped=True,
    unset_as_null=False,
    unknown_fields=True,
    active_unless_told=None,
    configuration_merges=True,
    jsonapi_errors=True,
    unknown_tenant=404,
    idle_synchronize=False,
    default_page=7,
    largest_page=50,
    newest_first=True,
    references=True,
    null_data=True,
    type_as_given=True,
    zone=timezone(timedelta(hours=-5, minutes=-30)),
    expires_in=None,
    rotates=True,
    chunked=True,
    gzip=True,
    early_hints=True,
    retry_at=True,
    case=str.lower,
    headers=("Server-Timing: db;dur=1.5", "Set-Cookie: clarus_session=crumb; Path=/", "Vary: Origin", "X-Runtime: 0.1"),
)

# Name: its type, whether it may be null, whether PATCH takes it.
_ATTRIBUTES: Mapping[str, tuple[type, bool, bool]] = {
    "name": (str, False, True),
    "integration_type": (str, False, False),
    "provider": (str, True, False),
    "is_active": (bool, True, True),
    "account_id": (int, True, False),
    "warehouse_id": (int, True, False),
    "configuration": (dict, False, True),
    **{f"external_system_reference{n}": (str, True, False) for n in (1, 2, 3)},
    **{f"string{n}": (str, True, True) for n in (1, 2, 3, 4, 5)},
}
_CATEGORIES = {"shopify": "ecommerce", "woocommerce": "ecommerce", "brightpearl": "erp", "xero": "accounting"}
_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": lambda mine, wanted: mine == wanted,
    "like": lambda mine, wanted: mine is not None and wanted in mine,
    "ilike": lambda mine, wanted: mine is not None and wanted.casefold() in mine.casefold(),
    "in": lambda mine, wanted: mine in wanted,
    "between": lambda mine, wanted: mine is not None and wanted[0] <= mine <= wanted[-1],
    "from": lambda mine, wanted: mine >= wanted,
    "to": lambda mine, wanted: mine <= wanted,
}


class Asked(NamedTuple):
    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


class Reply(Exception):  # noqa: N818  an answer is no error, raised or not
    """An answer; raised where it is the end of it."""

    def __init__(self, status: int, document: Any = None, *headers: str) -> None:
        self.status, self.document, self.headers = status, document, headers


@dataclasses.dataclass
class Record:
    """An integration as the ledger has it."""

    id: int
    tenant: str
    attributes: dict[str, Any]
    created_at: datetime
    deleted: bool = False
    synchronized: int = 0


class Integrations:
    """The records of all tenants, and the calls on them."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.records: dict[int, Record] = {}
        self.entities = Entities(self)
        self._schema = Schema(references=dialect.references, introspection=dialect.introspection == "yes")

    def find(self, number: int, tenant: str) -> Record | None:
        record = self.records.get(number)
        return None if record is None or record.tenant != tenant or record.deleted else record

    def answer(self, asked: Asked, tenant: str) -> Reply:
        if asked.path.startswith("/api/external_entities"):
            return self.entities.answer(asked, tenant)
        match = re.fullmatch(r"/graphql|/api/integrations(?:/([0-9]+)(/synchronize)?)?", asked.path)
        if match is None:
            raise self.refusal(404, "not_found", "There is nothing here")
        if match[1] is None:
            calls = {"POST": self._graphql if asked.path == "/graphql" else self._create}
        elif match[2]:
            calls = {"POST": self._synchronize}
        else:
            calls = {"PATCH": self._update, "DELETE": self._delete}
        if asked.method not in calls:
            raise self.refusal(404, "not_allowed", "There is no such operation")
        if match[1] is None:
            return calls[asked.method](asked, tenant)
        record = self.find(int(match[1]), tenant)
        if record is None:
            raise self.refusal(404, "integration_not_found", "There is no such integration")
        return calls[asked.method](asked, record)

    def refusal(self, status: int, symbol: str, details: str, source: str | None = None) -> Reply:
        error = {"code": 1000 + status, "symbol": symbol, "details": details, "source": source, "context": None}
        if self.dialect.jsonapi_errors:
            error = {"status": str(status), "title": symbol, "detail": details}
            error |= {"source": {"pointer": f"/data/attributes/{source}"}} if source else {}
        return Reply(status, {"errors": [error]})

    # REST (CLARUS_API.md §1).

    def _create(self, asked: Asked, tenant: str) -> Reply:
        attributes = self._attributes(asked, patch=False)
        reference = attributes.get("external_system_reference1")
        taken = [r.attributes.get("external_system_reference1") for r in self.records.values() if not r.deleted]
        if self.dialect.unique_references and reference is not None and reference in taken:
            details = f"{reference!r} is taken; got {json.dumps(attributes)}"
            raise self.refusal(422, "reference_exists", details, "external_system_reference1")
        attributes.setdefault("is_active", self.dialect.active_unless_told)
        record = Record(len(self.records) + 1, tenant, attributes, datetime.now(self.dialect.zone))
        self.records[record.id] = record
        return Reply(self.dialect.create_status, self._shown(record))

    def _update(self, asked: Asked, record: Record) -> Reply:
        changes = self._attributes(asked, patch=True)
        if self.dialect.configuration_merges and "configuration" in changes:
            changes["configuration"] = record.attributes.get("configuration", {}) | changes["configuration"]
        record.attributes |= changes
        return Reply(200, self._shown(record))

    def _delete(self, asked: Asked, record: Record) -> Reply:
        record.deleted = True
        return Reply(204)

    def _synchronize(self, asked: Asked, record: Record) -> Reply:
        if not (self.dialect.idle_synchronize or record.attributes["is_active"]):
            raise self.refusal(422, "integration_inactive", "The integration is not active")
        record.synchronized += 1
        return Reply(200, {"data": {"id": self._id(record), "type": "integrations", "attributes": {}}})

    def _attributes(self, asked: Asked, *, patch: bool) -> dict[str, Any]:
        try:
            document = json.loads(asked.body)
            resource = document["data"]
            given = dict(resource["attributes"])
        except ValueError:
            raise self.refusal(400, "json_invalid", "The body is not JSON") from None
        except (KeyError, TypeError):
            raise self.refusal(422, "data_invalid", "The body has no data with attributes") from None
        if resource.get("type") != "integrations":
            raise self.refusal(422, "type_invalid", "The type must be integrations")
        for name in () if patch else ("name", "integration_type"):
            given.setdefault(name, None)
        for name, value in given.items():
            kind, nullable, _ = _ATTRIBUTES.get(name, (object, True, False))
            fits = isinstance(value, kind) and not (kind is int and isinstance(value, bool))
            if not (fits or (value is None and nullable)) or (value == "" and not nullable):
                raise self.refusal(422, f"{name}_invalid", f"{name} can't be {value!r}", name)
        # Strong parameters: what is not on the list is dropped, and nobody is told.
        return {name: given[name] for name in given if name in _ATTRIBUTES and (_ATTRIBUTES[name][2] or not patch)}

    def _id(self, record: Record) -> int | str:
        return str(record.id) if self.dialect.string_ids else record.id

    def _shown(self, record: Record) -> dict[str, Any]:
        unset = dict.fromkeys(set(_ATTRIBUTES) - {"integration_type", "provider"}) | {"configuration": {}}
        shown = (unset if self.dialect.unset_as_null else {}) | record.attributes
        if self.dialect.unknown_fields:
            shown |= {"lock_version": 0, "tags": ["new"], "links": {"self": f"/api/integrations/{record.id}"}}
        else:
            del shown["integration_type"]  # the vendor's sample has none
        if not self.dialect.wrapped:
            return {"id": self._id(record)} | shown
        return {"data": {"id": self._id(record), "type": "integrations", "attributes": shown}}

    # GraphQL.

    def _graphql(self, asked: Asked, tenant: str) -> Reply:
        root = {
            "integrations": {"all": lambda _, **given: self._list(self._rows(tenant), **given)},
            "external_entities": {"all": lambda _, **given: self._list(self.entities.rows(tenant), **given)},
            "sites": {"all": lambda _, **given: _SITES},
        }
        try:
            document = json.loads(asked.body)
            text, given = document["query"], document.get("variables") or {}
            data = self._schema.execute(text, given, root, document.get("operationName"))
        except (RefusedError, ValueError, KeyError, TypeError, AttributeError) as error:
            failed = {"errors": [{"message": str(error), "extensions": {"code": "refused"}}]}
            status = 400 if self.dialect.introspection == "400" and "__schema" in str(error) else 200
            return Reply(status, failed | ({"data": None} if self.dialect.null_data else {}))
        return Reply(200, {"data": data})

    def _list(
        self,
        rows: list[dict[str, Any]],
        *,
        filter: Any = None,  # noqa: A002
        first: int | None = None,
        after: str | None = None,
    ) -> dict[str, Any]:
        for field, operators in (filter or {}).items():
            for operator, wanted in (operators or {}).items():
                if wanted is not None:
                    wanted = _typed(field, wanted)  # noqa: PLW2901
                    rows = [row for row in rows if _OPERATORS[operator](row[field], wanted)]
        if self.dialect.newest_first:
            rows.reverse()
        size = self.dialect.default_page if first is None else min(first, self.dialect.largest_page)
        before = 0 if after is None else self._place(rows, after)
        edges = [{"cursor": _cursor(row), "node": row} for row in rows[before : before + size]]
        info = {
            "hasNextPage": before + size < len(rows),
            "hasPreviousPage": before > 0,
            "startCursor": edges[0]["cursor"] if edges else None,
            "endCursor": edges[-1]["cursor"] if edges else None,
        }
        return {"edges": edges, "nodes": [edge["node"] for edge in edges], "pageInfo": info, "totalCount": len(rows)}

    def _place(self, rows: list[dict[str, Any]], cursor: str) -> int:
        """How many rows are up to a cursor, whether its own row is still there or not."""
        try:
            last = int(base64.b64decode(cursor, validate=True))
        except ValueError:
            raise RefusedError(f"Invalid cursor: {cursor!r}") from None
        newest_first = self.dialect.newest_first
        return sum(int(row["id"]) >= last if newest_first else int(row["id"]) <= last for row in rows)

    def _rows(self, tenant: str) -> list[dict[str, Any]]:
        return [self._row(each) for each in self.records.values() if each.tenant == tenant and not each.deleted]

    def _row(self, record: Record) -> dict[str, Any]:
        mine = record.attributes
        given = mine["integration_type"]
        return {
            "id": str(record.id),
            "name": mine["name"],
            "integration_provider": mine.get("provider") or (None if self.dialect.type_as_given else given),
            "integration_type": given if self.dialect.type_as_given else _CATEGORIES.get(given, given),
            "status": "active" if mine["is_active"] else "inactive",
            "enabled": mine["is_active"],
            "created_at": record.created_at.isoformat(),
            "external_system_reference1": mine.get("external_system_reference1"),
        }


def _typed(field: str, wanted: Any) -> Any:
    """Turn what a filter was given into what rows have."""
    if isinstance(wanted, list):
        return [_typed(field, each) for each in wanted]
    # Ids are taken as integers, too.
    kinds: Mapping[str, Callable[[Any], Any]] = {"integration_id": str, "created_at": datetime.fromisoformat}
    return kinds.get(field, lambda each: each)(wanted)


def _cursor(row: Mapping[str, Any]) -> str:
    return base64.b64encode(str(row["id"]).encode()).decode()


_SITE = {"cursor": "MQ==", "node": {"id": "1", "code": "HQ", "name": "Zentrallager Süd"}}
_SITES = {
    "edges": [_SITE],
    "pageInfo": {"hasNextPage": False, "hasPreviousPage": False, "startCursor": "MQ==", "endCursor": "MQ=="},
}
