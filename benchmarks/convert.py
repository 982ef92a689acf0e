"""What it costs to turn a record into the bytes of its envelope, and an answer into a record."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any, Final

import attrs
import orjson
from cattrs.preconf.orjson import make_converter

from benchmarks.call import NEW
from benchmarks.measuring import Figure
from clarus_async.resources.integrations import INTEGRATIONS
from clarus_async.wire.envelope import create_body, read_created
from clarus_async.wire.reading import prepare

_ANSWER: Final = orjson.dumps({
    "data": {
        "id": 123,
        "type": "integrations",
        "attributes": {
            "name": "Shopify Store",
            "is_active": True,
            "account_id": None,
            "warehouse_id": None,
            "configuration": {"api_key": "your-api-key", "shop_domain": "mystore.myshopify.com"},
        },
    }
})  # fmt: skip


@attrs.define
class _Record:
    name: str
    integration_type: str | None = None
    is_active: bool | None = None
    account_id: int | None = None
    warehouse_id: int | None = None
    configuration: dict[str, Any] | None = None
    id: int | None = None


def figures(*, quick: bool) -> list[Figure]:
    """Measure, and return the table."""
    prepare(INTEGRATIONS)
    usual = make_converter()
    given = _Record(name=NEW.name, integration_type=NEW.integration_type, configuration=dict(NEW.configuration))

    def ours() -> None:
        create_body(INTEGRATIONS, NEW)
        read_created(INTEGRATIONS, _ANSWER)

    def theirs() -> None:
        orjson.dumps({"data": {"type": "integrations", "attributes": usual.unstructure(given)}})
        data = orjson.loads(_ANSWER)["data"]
        usual.structure({"id": data["id"], **data["attributes"]}, _Record)

    rounds = 15 if quick else 51
    taken = [(_took(ours), _took(theirs), _took(lambda: create_body(INTEGRATIONS, NEW))) for _ in range(rounds)]
    both, _, there = (statistics.median(column) for column in zip(*taken, strict=True))
    return [
        Figure(name="record to bytes and back, the vendor's example", value=both, unit="us", most=10.0),
        Figure(name="of that, record to bytes", value=there, unit="us"),
        Figure(
            name="the same / plain cattrs, which checks no types",
            value=statistics.median(one / other for one, other, _ in taken),
            fails=3.0,
        ),
    ]


def _took(work: Callable[[], None], times: int = 1000) -> float:
    began = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - began) / times * 1e6
