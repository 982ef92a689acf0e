"""External entities on the simulator, over real HTTP (CLARUS_API.md §5)."""

import attrs
import pytest

from clarus_async import (
    ClarusClient,
    ExternalEntity,
    ExternalEntityChanges,
    ExternalEntityFilter,
    ExternalEntityRow,
    NewExternalEntity,
    NewIntegration,
    NotFoundError,
    RateLimitedError,
    RetryPolicy,
    Timeouts,
    ValidationError,
)
from clarus_async.simulator import Endpoint, Fault, FaultKind, Quota, Simulator


@pytest.fixture
async def simulator():
    async with Simulator(max_page_size=4) as simulator:
        simulator.preload("acme", [{"name": name, "integration_type": "shopify"} for name in ("North", "South")])
        yield simulator


@pytest.fixture
async def clarus(simulator):
    async with ClarusClient("acme", simulator.credentials, base_url=simulator.url) as clarus:
        yield clarus


def sku(n, **attributes):
    given = {"entity_type": "product", "code": f"SKU-{n}", "external_system_reference1": f"p-{n}", "integration_id": 1}
    return NewExternalEntity(**given | attributes)


def attributes_of(new):
    return attrs.asdict(new, filter=lambda _, value: value is not None)


async def codes(clarus, **wanted):
    return [row.code async for row in clarus.external_entities.list(ExternalEntityFilter(**wanted))]


async def test_a_record_is_created_changed_and_listed(simulator, clarus):
    made = await clarus.external_entities.create(sku(1, description="A shirt"))
    changed = await clarus.external_entities.update(made.id, ExternalEntityChanges(description=None, code="SKU-2"))
    rows = [row async for row in clarus.external_entities.list()]

    assert made == ExternalEntity(
        id=1,
        entity_type="product",
        code="SKU-1",
        external_system_reference1="p-1",
        description="A shirt",
        integration_id=1,
    )
    assert (changed.id, changed.code, changed.description, changed.integration_id) == (1, "SKU-2", None, 1)
    assert rows == [
        ExternalEntityRow(
            id=1,
            code="SKU-2",
            entity_type="product",
            external_system_reference1="p-1",
            integration_id=1,
            integration_name="North",
        )
    ]
    (stored,) = simulator.external_entities("acme")
    assert (stored.resource, stored.attributes["code"]) == ("external_entities", "SKU-2")
    assert len(simulator.integrations("acme")) == 2


async def test_the_list_is_filtered_as_documented(simulator, clarus):
    for n in range(6):
        await clarus.external_entities.create(sku(n, integration_id=1 + n % 2))
    await clarus.external_entities.create(sku(9, entity_type="carrier", integration_id=None, description="By Night"))

    assert await codes(clarus) == [*(f"SKU-{n}" for n in range(6)), "SKU-9"]
    assert await codes(clarus, integration_id=2) == ["SKU-1", "SKU-3", "SKU-5"]
    assert await codes(clarus, integration_id=[1, 2], code_contains="sku-4") == ["SKU-4"]
    assert await codes(clarus, integration_name="South", code=["SKU-1", "SKU-2"]) == ["SKU-1"]
    assert await codes(clarus, entity_type=["carrier", "warehouse"]) == ["SKU-9"]
    assert await codes(clarus, description_contains="night") == ["SKU-9"]
    assert await codes(clarus, external_system_reference1=["p-0", "p-9"]) == ["SKU-0", "SKU-9"]


async def test_a_record_is_found_by_its_natural_key(simulator, clarus):
    for integration_id in (1, 2):
        await clarus.external_entities.create(sku(1, integration_id=integration_id))
    found = await clarus.external_entities.find(reference="p-1")
    one = await clarus.external_entities.find(reference="p-1", integration_id=2, entity_type="product")

    assert [row.integration_id for row in found] == [1, 2]
    assert [row.id for row in one] == [2]
    assert await clarus.external_entities.find(reference="p-1", entity_type="carrier") == []


@pytest.mark.parametrize(
    ("given", "reason"),
    [({"entity_type": "teapot"}, "entity_type must be one of"), ({"integration_id": 9}, "integration_id")],
)
async def test_what_the_server_can_not_store_is_refused(simulator, clarus, given, reason):
    with pytest.raises(ValidationError, match=reason):
        await clarus.external_entities.create(sku(1, **given))
    assert simulator.external_entities("acme") == []


async def test_a_simulator_that_does_not_check_ids_takes_those_of_another_tenant():
    async with Simulator(check_ids=False) as simulator:
        async with ClarusClient("acme", simulator.credentials, base_url=simulator.url) as clarus:
            made = await clarus.external_entities.create(sku(1, integration_id=84211))
            (found,) = await clarus.external_entities.find(reference="p-1", integration_id=84211)

    assert (made.integration_id, found.id, found.integration_id) == (84211, made.id, None)


async def test_a_record_that_is_not_there_can_not_be_changed(clarus):
    with pytest.raises(NotFoundError):
        await clarus.external_entities.update(9, ExternalEntityChanges(code="x"))


async def test_ids_of_different_resources_have_nothing_to_do_with_each_other(simulator, clarus):
    made = await clarus.external_entities.create(sku(1))
    shop = await clarus.integrations.create(NewIntegration(name="West", integration_type="shopify"))

    assert (made.id, shop.id) == (1, 3)


async def test_faults_quotas_and_the_log_are_those_of_any_resource(simulator, clarus):
    simulator.script(Endpoint.CREATE, Fault(FaultKind.RATE_LIMITED, retry_after=0))
    simulator.script(Endpoint.UPDATE, FaultKind.RESET_AFTER)
    made = await clarus.external_entities.create(sku(1))
    await clarus.external_entities.update(made.id, ExternalEntityChanges(code="SKU-2"))
    writes = [entry for entry in simulator.requests if entry.endpoint in {Endpoint.CREATE, Endpoint.UPDATE}]

    assert [(entry.resource, entry.fault, entry.record_id) for entry in writes] == [
        ("external_entities", "rate_limited", None),
        ("external_entities", None, 1),
        ("external_entities", "reset_after", 1),
        ("external_entities", None, 1),
    ]
    assert [(r.send, r.attributes["code"]) for r in simulator.created("acme", "external_entities")] == [(2, "SKU-2")]


async def test_a_quota_counts_the_requests_for_every_resource():
    async with Simulator(quota=Quota(limit=2, window=60.0, kind="fixed")) as simulator:
        hasty = RetryPolicy(max_attempts=1)
        options = {"retry": hasty, "timeouts": Timeouts(deadline=2.0)}
        async with ClarusClient("acme", simulator.credentials, base_url=simulator.url, **options) as clarus:
            shop = await clarus.integrations.create(NewIntegration(name="North", integration_type="shopify"))
            await clarus.external_entities.create(sku(1, integration_id=shop.id))
            with pytest.raises(RateLimitedError):
                await clarus.external_entities.create(sku(2, integration_id=shop.id))


async def test_a_taken_reference_is_refused_within_its_integration_and_type():
    async with Simulator(unique_references=True) as simulator:
        simulator.preload("acme", [{"name": name, "integration_type": "shopify"} for name in ("North", "South")])
        async with ClarusClient("acme", simulator.credentials, base_url=simulator.url) as clarus:
            await clarus.external_entities.create(sku(1))
            await clarus.external_entities.create(sku(1, integration_id=2))
            await clarus.external_entities.create(sku(1, entity_type="carrier"))
            with pytest.raises(ValidationError, match="taken"):
                await clarus.external_entities.create(sku(1))


async def test_a_run_through_faults_creates_each_record_once(tmp_path):
    kinds = [FaultKind.RESET_AFTER, FaultKind.RESET_BEFORE, FaultKind.NOT_JSON, FaultKind.ERROR_AFTER]
    faults = [Fault(kind, endpoint=Endpoint.CREATE, probability=0.08) for kind in kinds]
    async with Simulator(faults=faults, seed=3) as simulator:
        simulator.preload("acme", [{"name": name, "integration_type": "shopify"} for name in ("North", "South")])
        timeouts = Timeouts(settle=1.0, attempt=1.0)
        async with ClarusClient("acme", simulator.credentials, base_url=simulator.url, timeouts=timeouts) as clarus:
            # The same references in two integrations are different records.
            specs = [sku(n, integration_id=whose) for whose in (1, 2) for n in range(40)]
            runs = []
            for _ in range(2):
                async with clarus.external_entities.provision(specs, journal=tmp_path / "run.db") as run:
                    runs.append({outcome.index: outcome async for outcome in run})

    assert all(outcome.status.ok for outcome in runs[0].values())
    assert {outcome.resource for outcome in runs[0].values()} == {"external_entities"}
    assert {index: outcome.id for index, outcome in runs[0].items()} == {i: o.id for i, o in runs[1].items()}
    assert len(simulator.created("acme", "external_entities")) == 80


async def test_a_run_that_does_not_look_first_finds_what_it_made(tmp_path):
    async with Simulator() as simulator:
        simulator.preload("acme", [{"name": "North", "integration_type": "shopify"}])
        simulator.preload("acme", [attributes_of(sku(n)) for n in range(3)], resource="external_entities")
        simulator.script(Endpoint.CREATE, *[FaultKind.RESET_AFTER] * 6)
        timeouts = Timeouts(settle=1.0, attempt=1.0)
        async with ClarusClient("acme", simulator.credentials, base_url=simulator.url, timeouts=timeouts) as clarus:
            run = clarus.external_entities.provision([sku(n) for n in range(6)], existing="ignore")
            outcomes = [outcome async for outcome in run]

    assert {outcome.status for outcome in outcomes} == {"adopted"}
    stored = simulator.created("acme", "external_entities")[3:]
    assert {outcome.id for outcome in outcomes} == {record.id for record in stored}
    assert len(stored) == 6


async def test_a_run_that_does_not_look_first_writes_down_the_servers_time(tmp_path):
    journal = tmp_path / "run.db"
    async with Simulator() as simulator:
        async with ClarusClient("acme", simulator.credentials, base_url=simulator.url) as clarus:
            new = NewExternalEntity(entity_type="product", code="SKU-1", external_system_reference1="p-1")
            run = clarus.external_entities.provision([new], existing="ignore", journal=journal)
            assert [outcome.status async for outcome in run] == ["created"]
        first = [entry.endpoint for entry in simulator.requests if entry.endpoint is not Endpoint.TOKEN]

    # What a crash leaves in doubt is told from older records by it.
    assert first == [Endpoint.GRAPHQL, Endpoint.CREATE]
