"""The next resource is its records, a spec and an entry in the simulator: here, mapping groups (CLARUS_API.md §5)."""

from typing import ClassVar
from unittest.mock import patch

import attrs
import pytest

from clarus_async import ClarusClient, InvalidInputError, ValidationError
from clarus_async.resources.records import AN_ID, ChangesRecord, CheckedRecord, NewRecord
from clarus_async.resources.resource import Resource
from clarus_async.resources.spec import Envelope, Listing, NaturalKey, Nested, ResourceSpec
from clarus_async.simulator import Endpoint, Simulator
from clarus_async.simulator.resources import RESOURCES, Attribute, Field, SimulatedResource
from clarus_async.validation import UNSET, checked, checked_by, checked_field, number_problem, text_problem

# What a module of clarus_async/resources/ has.


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
        return f"{self.integration_id}/{self.operation_type}/{self.name}"


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
    name: str | None = checked_field(text_problem, default=None)
    integration_id: int | None = checked_field(number_problem, default=None)


class Groups(Resource[NewGroup, GroupChanges, Group, Group, GroupFilter]):
    spec = ResourceSpec(
        name="mapping_groups",
        path="/api/mapping_groups",
        new=NewGroup,
        changes=GroupChanges,
        record=Group,
        envelope=Envelope.BARE,
        listing=Listing(
            root="mapping_groups",
            filter_type="MappingGroupFilterType",
            row=Group,
            filter=GroupFilter,
            selection="id name description operation_type integration { id }",
            nested={"integration_id": Nested("integration", "id")},
        ),
        keys=(NaturalKey(field="name", called="name", scope=("integration_id", "operation_type")),),
    )


# What the simulator's table has.

SIMULATED = SimulatedResource(
    name="mapping_groups",
    noun="mapping group",
    attributes={
        "name": Attribute(str, required=True, nullable=False),
        "description": Attribute(str, required=True, nullable=False),
        "operation_type": Attribute(str, required=True, nullable=False),
        "integration_id": Attribute(int, refers_to="integrations"),
    },
    operations=frozenset({Endpoint.UPDATE}),
    wrapped=False,
    node="MappingGroup",
    filter="MappingGroupFilterType",
    fields={
        **{
            name: Field(lambda record, _, name=name: record.attributes[name], "String!", "StringInputType")
            for name in ("name", "description", "operation_type")
        },
        "integration": RESOURCES["external_entities"].fields["integration"],
        "integration_id": RESOURCES["external_entities"].fields["integration_id"],
    },
)


@pytest.fixture
async def simulator():
    with patch.dict(RESOURCES, {SIMULATED.name: SIMULATED}):
        async with Simulator(max_page_size=3) as simulator:
            simulator.preload("acme", [{"name": "North", "integration_type": "shopify"}])
            yield simulator


@pytest.fixture
async def groups(simulator):
    async with ClarusClient("acme", simulator.credentials, base_url=simulator.url) as clarus:
        yield Groups(clarus._caller)


def group(n, **attributes):
    given = {"name": f"Group {n}", "description": "All", "operation_type": "integration_product", "integration_id": 1}
    return NewGroup(**given | attributes)


async def test_a_record_is_created_changed_listed_and_found(simulator, groups):
    made = [await groups.create(group(n)) for n in range(7)]
    changed = await groups.update(made[3].id, GroupChanges(description="Some"))
    rows = [row async for row in groups.list(GroupFilter(integration_id=1), page_size=2)]
    (found,) = await groups._find(name="Group 3", integration_id=1)

    assert changed == found == attrs.evolve(made[3], description="Some")
    assert rows == [changed if row.id == changed.id else row for row in made]
    assert [record.id for record in simulator.records("acme", "mapping_groups")] == [row.id for row in rows]


async def test_what_is_wrong_is_refused_here_or_there(groups):
    with pytest.raises(InvalidInputError, match="is no attribute of a mapping group; did you mean name?"):
        NewGroup.from_mapping({"nam": "x", "description": "y", "operation_type": "z"})
    with pytest.raises(ValidationError, match="POST /api/mapping_groups.*integration_id does not exist"):
        await groups.create(group(1, integration_id=9))


async def test_the_simulators_own_table_is_as_it_was():
    async with Simulator() as simulator:
        with pytest.raises(ValueError, match="no resource 'mapping_groups', only integrations, external_entities"):
            simulator.records("acme", "mapping_groups")
