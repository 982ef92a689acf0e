"""What is filled by its shape is what the converter reads, whatever came before it."""

import copy
import pickle
from datetime import UTC, datetime

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarus_async import Integration, IntegrationRow
from clarus_async.resources.external_entities import EXTERNAL_ENTITIES
from clarus_async.resources.integrations import INTEGRATIONS
from clarus_async.wire import shapes
from clarus_async.wire.reading import _compile_reader, _WrongTypeError

ROW = {"id": "7", "name": "Shop", "integration_provider": "shopify", "created_at": "2026-01-10T12:00:00Z"}

odd = st.sampled_from(
    [None, True, 0, 7, -1, 2**63, 1.5, "", "7", "٣", "x", "2026-01-10T12:00:00Z", "2026-01-10", [], {}]
)
names = st.sampled_from(["id", "name", "enabled", "account_id", "created_at", "configuration", "extra", "new", "a'b"])
objects = st.dictionaries(names, odd, max_size=6)


def read(reader, data):
    try:
        return reader(copy.deepcopy(data))
    except _WrongTypeError:
        return None


@pytest.mark.parametrize("of", [Integration, INTEGRATIONS.listing], ids=["a record", "a row"])
@given(st.lists(objects, max_size=6))
def test_it_reads_what_the_converter_reads(of, several):
    reader = _compile_reader(of)
    for data in [*several, *several]:
        assert read(reader, data) == read(reader.__self__._strict, data)


@pytest.mark.parametrize("of", [EXTERNAL_ENTITIES.listing])
def test_rows_with_nested_nodes_are_read_alike_again(of):
    reader = _compile_reader(of)
    row = {"id": "1", "code": "A", "entity_type": "product", "integration": {"id": "5", "name": "Shop"}}
    assert reader(dict(row)) == reader(dict(row))
    assert reader(dict(row)).integration_id == 5


def test_a_shape_that_was_read_before_is_not_read_strictly_again():
    reader = _compile_reader(INTEGRATIONS.listing)
    first = reader(dict(ROW))
    reader.__self__._strict = None
    again = reader(ROW | {"id": "8"})
    assert (first.id, again.id, again.created_at) == (7, 8, datetime(2026, 1, 10, 12, tzinfo=UTC))


def test_rows_of_several_shapes_by_turns_are_not_read_strictly_again():
    reader = _compile_reader(INTEGRATIONS.listing)
    several = [dict(ROW), ROW | {"name": None}, ROW | {"colour": "red"}, ROW | {"size": 1}, {"id": 1}]
    learned = [reader(dict(row)) for row in several]
    reader.__self__._strict = None
    assert [reader(dict(row)) for row in several * 2] == learned * 2


def test_the_order_of_members_makes_no_other_shape():
    reader = _compile_reader(INTEGRATIONS.listing)
    first = reader(dict(ROW))
    reader.__self__._strict = None
    assert reader(dict(reversed(ROW.items()))) == first


@pytest.mark.parametrize("changed", [{"id": "x"}, {"id": "-1"}, {"id": "9" * 30}, {"id": -1}, {"id": 2**63}])
def test_a_value_that_can_not_be_an_id_is_refused_in_any_shape(changed):
    reader = _compile_reader(INTEGRATIONS.listing)
    reader(dict(ROW))
    reader(ROW | {"id": 7})
    with pytest.raises(_WrongTypeError):
        reader(ROW | changed)


@pytest.mark.parametrize("time", ["2026-01-10T12:00:00", "yesterday", "2026-13-10T12:00:00Z"])
def test_a_value_that_is_no_time_is_kept_in_any_shape(time):
    reader = _compile_reader(INTEGRATIONS.listing)
    reader(dict(ROW))
    row = reader(ROW | {"created_at": time})
    assert (row.created_at, row.extra) == (None, {"created_at": time})


def test_what_is_filled_is_a_record_like_any_other():
    reader = _compile_reader(INTEGRATIONS.listing)
    slowly, quickly = reader(dict(ROW)), reader(dict(ROW))
    assert type(quickly) is IntegrationRow
    assert quickly == slowly
    assert hash(quickly) == hash(slowly)
    assert repr(quickly) == repr(slowly)
    assert pickle.loads(pickle.dumps(quickly)) == quickly
    assert attrs.evolve(quickly, name="Other").name == "Other"
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        quickly.name = "Other"
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        del quickly.name


def test_members_that_nobody_knows_are_kept_in_any_shape():
    reader = _compile_reader(Integration)
    for number in (1, 2):
        record = reader({"id": number, "name": "A", "colour": number, "a\"]'b": [number]})
        assert record.extra == {"colour": number, "a\"]'b": [number]}


def test_a_server_with_ever_new_shapes_fills_no_memory():
    reader = _compile_reader(Integration)
    for number in range(3 * shapes._MOST_SHAPES):
        assert reader({"id": 1, "name": "A", f"field{number}": 1}).extra == {f"field{number}": 1}
    reader({"id": 1, **{str(number): 1 for number in range(1000)}})
    fillers = reader.__self__._fillers
    assert len(fillers) == shapes._MOST_SHAPES
    assert max(map(len, fillers)) <= 2 * shapes._MOST_MEMBERS


def test_setting_an_attribute_of_what_is_filled_is_pythons_own_way():
    unfrozen = shapes._unfrozen(Integration)
    # With either of the frozen class's, filling is five times as slow.
    assert unfrozen.__setattr__ is object.__setattr__
    assert unfrozen.__delattr__ is object.__delattr__
