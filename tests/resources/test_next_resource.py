"""The next resource is its records, a spec and an entry in the simulator: here, mapping groups (CLARUS_API.md §5)."""

import re
from pathlib import Path
from typing import ClassVar
from unittest.mock import patch

import attrs
import pytest

from clarus_async import ClarusClient, InvalidInputError, Timeouts, ValidationError
from clarus_async.resources.records import AN_ID, ChangesRecord, CheckedRecord, NewRecord
from clarus_async.resources.resource import Resource
from clarus_async.resources.spec import Envelope, Listing, NaturalKey, Nested, ResourceSpec
from clarus_async.simulator import Endpoint, Fault, FaultKind, Simulator
from clarus_async.simulator.resources import RESOURCES, Field, given
from clarus_async.unset import UNSET
from clarus_async.validation import checked, checked_by, checked_field, number_problem, text_problem

# A module of clarus_async/resources/, and its class in one of its own.


@checked
@attrs.frozen(kw_only=True, repr=False)
class NewGroup(NewRecord):
    noun: ClassVar[str] = "a mapping group"
    name: str = attrs.field(metadata=checked_by(text_problem))
    description: str = attrs.field(metadata=checked_by(text_problem))
    operation_type: str = attrs.field(metadata=checked_by(text_problem))
    integration_id: int | None = checked_field(number_problem, default=None)

    @property
    def key(self):
        return f"{self.integration_id or ''}/{self.operation_type}/{self.name}"


@checked
@attrs.frozen(kw_only=True, repr=False)
class GroupChanges(ChangesRecord):
    name: str = checked_field(text_problem, default=UNSET)
    description: str = checked_field(text_problem, default=UNSET)


@attrs.frozen(kw_only=True)
class Group:
    id: int
    name: str | None = None
    description: str | None = None
    operation_type: str | None = None
    integration_id: int | None = attrs.field(default=None, metadata=AN_ID)
    extra: dict = attrs.field(factory=dict)


@checked
@attrs.frozen(kw_only=True, repr=False)
class GroupFilter(CheckedRecord):
    integration_id: int | None = checked_field(number_problem, default=None)


class Groups(Resource[NewGroup, GroupChanges, Group, Group, GroupFilter]):
    spec = ResourceSpec(
        name="mapping_groups", path="/api/mapping_groups", new=NewGroup, changes=GroupChanges, record=Group,
        envelope=Envelope.BARE,
        listing=Listing(
            root="mapping_groups", filter_type="MappingGroupFilterType", row=Group, filter=GroupFilter,
            selection="id name description operation_type integration { id }",
            nested={"integration_id": Nested("integration", "id")}, created_filter="created_at",
        ),
        keys=(NaturalKey(field="name", called="name", scope=("integration_id", "operation_type")),),
    )  # fmt: skip


# Its entry in the simulator.

TEXTS = ("name", "description", "operation_type")
ENTITIES = RESOURCES["external_entities"]
SIMULATED = attrs.evolve(
    ENTITIES,
    name="mapping_groups", noun="mapping group", node="MappingGroup", filter="MappingGroupFilterType",
    attributes=dict.fromkeys(TEXTS, ENTITIES.attributes["code"])
    | {"integration_id": ENTITIES.attributes["integration_id"]},
    fields={name: Field(given(name), "String!", "StringInputType") for name in TEXTS}
    | {name: ENTITIES.fields[name] for name in ("integration", "integration_id", "created_at")},
    unique_within=(),
)  # fmt: skip

# The tests.


def test_it_costs_less_than_sixty_lines():
    _, module, entry, _ = re.split("\n# (?:A module|Its entry|The tests).*", Path(__file__).read_text())
    assert len(module.strip().splitlines()) + len(entry.strip().splitlines()) < 60


@pytest.fixture
async def simulator():
    with patch.dict(RESOURCES, {SIMULATED.name: SIMULATED}):
        async with Simulator(max_page_size=3) as simulator:
            simulator.preload("acme", [{"name": "North", "integration_type": "shopify"}])
            yield simulator


@pytest.fixture
async def groups(simulator):
    timeouts = Timeouts(settle=1.0, attempt=1.0)
    async with ClarusClient("acme", simulator.credentials, base_url=simulator.url, timeouts=timeouts) as clarus:
        yield Groups(clarus._caller)


def group(n, **attributes):
    texts = {"name": f"Group {n}", "description": "All", "operation_type": "integration_product", "integration_id": 1}
    return NewGroup(**texts | attributes)


async def test_a_record_is_created_changed_listed_and_found(simulator, groups):
    made = [await groups.create(group(n)) for n in range(7)]
    changed = await groups.update(made[3].id, GroupChanges(description="Some"))
    rows = [row async for row in groups.list(GroupFilter(integration_id=1), page_size=2)]
    (found,) = await groups._find(name="Group 3", integration_id=1)

    assert changed == found == attrs.evolve(made[3], description="Some")
    assert rows == [changed if row.id == changed.id else row for row in made]
    assert [record.id for record in simulator.records("acme", "mapping_groups")] == [row.id for row in rows]


@pytest.mark.parametrize("kind", [FaultKind.RESET_AFTER, FaultKind.ERROR_AFTER, FaultKind.RESET_BEFORE])
async def test_a_record_whose_answer_is_lost_is_there_once(simulator, groups, kind):
    simulator.script(Endpoint.CREATE, kind)
    made = await groups.create(group(1))

    assert [record.id for record in simulator.records("acme", "mapping_groups")] == [made.id]


async def test_a_run_through_faults_creates_each_record_once(simulator, groups, tmp_path):
    kinds = [FaultKind.RESET_AFTER, FaultKind.RESET_BEFORE, FaultKind.NOT_JSON, FaultKind.ERROR_AFTER]
    simulator.set_faults([Fault(kind, endpoint=Endpoint.CREATE, probability=0.08) for kind in kinds])
    wanted = [group(n, integration_id=whose) for whose in (1, None) for n in range(40)]
    runs = []
    for _ in range(2):
        async with groups.provision(wanted, journal=tmp_path / "run.db") as run:
            runs.append({outcome.index: (outcome.id, outcome.key) async for outcome in run if outcome.status.ok})

    assert runs[0] == runs[1]
    assert [runs[0][index][1] for index in range(80)] == [new.key for new in wanted]
    assert len(simulator.created("acme", "mapping_groups")) == 80


async def test_what_is_wrong_is_refused_here_or_there(groups):
    with pytest.raises(InvalidInputError, match="is no attribute of a mapping group; did you mean name?"):
        NewGroup.from_mapping({"nam": "x", "description": "y", "operation_type": "z"})
    with pytest.raises(ValidationError, match="POST /api/mapping_groups.*integration_id does not exist"):
        await groups.create(group(1, integration_id=9))


async def test_the_simulators_own_table_is_as_it_was():
    async with Simulator() as simulator:
        with pytest.raises(ValueError, match="no resource 'mapping_groups', only integrations, external_entities"):
            simulator.records("acme", "mapping_groups")
