"""External entities: their records, their bare envelope, their nested rows (CLARUS_API.md §5)."""

import graphql
import orjson
import pytest

from clarus_async import UNSET, ClarusClient, InvalidInputError
from clarus_async.resources.external_entities import (
    ENTITY_TYPES,
    EXTERNAL_ENTITIES,
    ExternalEntity,
    ExternalEntityChanges,
    ExternalEntityFilter,
    ExternalEntityRow,
    NewExternalEntity,
)
from clarus_async.wire.envelope import changes_body, create_body, read_changed, read_created
from clarus_async.wire.graphql import Page, filter_variable, list_document, only_reads, read_page
from clarus_async.wire.reading import Unreadable

LISTING = EXTERNAL_ENTITIES.listing
REQUIRED = {"entity_type": "product", "code": "SKU-1", "external_system_reference1": "p-1"}


def new(**attributes):
    return NewExternalEntity(**REQUIRED | attributes)


def created(document, sent=None):
    return read_created(EXTERNAL_ENTITIES, orjson.dumps(document), sent)


def page(*nodes):
    return read_page(LISTING, {"external_entities": {"all": {"edges": [{"node": node} for node in nodes]}}})


def row(**fields):
    (read,) = page({"id": "1"} | fields).rows
    return read


@pytest.mark.parametrize("name", REQUIRED)
def test_what_the_vendor_requires_is_required(name):
    with pytest.raises(InvalidInputError) as caught:
        NewExternalEntity.from_mapping({key: value for key, value in REQUIRED.items() if key != name})
    assert caught.value.problems == ((name, "is required"),)


@pytest.mark.parametrize("entity_type", [*ENTITY_TYPES, "something new"])
def test_no_type_is_refused(entity_type):
    assert new(entity_type=entity_type).entity_type == entity_type


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"code": ""}, "must not be empty"),
        ({"integration_id": "7"}, "must be an integer, not str"),
        ({"integration_id": True}, "must be an integer, not bool"),
        ({"description": 7}, "must be a string, not int"),
    ],
)
def test_a_wrong_value_is_refused_by_name(given, reason):
    with pytest.raises(InvalidInputError) as caught:
        new(**given)
    assert dict(caught.value.problems) == dict.fromkeys(given, reason)


def test_an_unknown_attribute_is_refused_with_the_nearest_one():
    with pytest.raises(InvalidInputError, match="is no attribute of an external entity; did you mean description?"):
        NewExternalEntity.from_mapping(REQUIRED | {"descriptoin": "x"})


@pytest.mark.parametrize(
    ("integration_id", "key"), [(None, "/product/p-1"), (0, "0/product/p-1"), (7, "7/product/p-1")]
)
def test_a_record_is_told_from_others_within_its_integration_and_type(integration_id, key):
    assert new(integration_id=integration_id).key == key


def test_changes_that_change_nothing_are_refused():
    with pytest.raises(InvalidInputError, match="at least one attribute"):
        ExternalEntityChanges()


@pytest.mark.parametrize(
    ("name", "clears"),
    [
        ("entity_type", False),
        ("code", False),
        ("external_system_reference1", False),
        ("description", True),
        ("integration_id", True),
        ("external_system_reference2", True),
        ("external_system_reference3", True),
    ],
)
def test_only_what_is_optional_can_be_cleared(name, clears):
    if clears:
        assert getattr(ExternalEntityChanges(**{name: None}), name) is None
    else:
        with pytest.raises(InvalidInputError, match=name):
            ExternalEntityChanges(**{name: None})


def test_create_is_wrapped_whatever_the_answer_is():
    assert orjson.loads(create_body(EXTERNAL_ENTITIES, new(integration_id=7))) == {
        "data": {"type": "external_entities", "attributes": REQUIRED | {"integration_id": 7}}
    }


def test_a_patch_sends_null_for_none_and_nothing_for_unset():
    changes = ExternalEntityChanges(description=None, code="SKU-2", integration_id=UNSET)

    assert orjson.loads(changes_body(EXTERNAL_ENTITIES, 5, changes)) == {
        "data": {"id": "5", "type": "external_entities", "attributes": {"code": "SKU-2", "description": None}}
    }


RECORD = {"id": 5, **REQUIRED, "description": "A shirt", "integration_id": 7}


@pytest.mark.parametrize(
    "document",
    [
        RECORD,
        RECORD | {"id": "5", "integration_id": "7"},
        {"data": {"id": 5, "type": "external_entities", "attributes": RECORD}},
        {"data": RECORD},
    ],
    ids=["bare", "strings", "wrapped", "in data"],
)
def test_an_answer_is_read_bare_or_wrapped(document):
    assert created(document) == ExternalEntity(**RECORD)


def test_a_bare_record_may_have_an_attribute_called_data():
    assert created(RECORD | {"data": {"weight": 1}}) == ExternalEntity(**RECORD, extra={"data": {"weight": 1}})


def test_an_answer_that_does_not_name_the_record_is_completed_by_what_was_sent():
    assert created({"id": 5}, new(description="x")) == ExternalEntity(id=5, **REQUIRED, description="x")


def test_an_answer_without_an_id_is_not_readable():
    assert created({"code": "SKU-1"}) == Unreadable("/id", "to be there")


@pytest.mark.parametrize("body", [b"", b"null", b'{"id": 5}', b"<html>"])
def test_an_update_is_done_whatever_the_answer_is(body):
    changes = ExternalEntityChanges(code="SKU-2", description=None)

    assert read_changed(EXTERNAL_ENTITIES, body, 5, changes) == ExternalEntity(id=5, code="SKU-2")


def test_the_list_query_is_the_vendors():
    document = list_document(LISTING)

    assert " ".join(document.split()) == (
        "query($filter: ExternalEntityFilterType, $first: Int, $after: String) { external_entities { "
        "all(filter: $filter, first: $first, after: $after) { edges { cursor node { id code description entity_type "
        "external_system_reference1 integration { id name } } } pageInfo { hasNextPage endCursor } } } }"
    )
    assert graphql.parse(document)
    assert only_reads(document)


def test_a_row_tells_whose_it_is():
    node = {"id": "5", **REQUIRED, "description": None, "integration": {"id": "7", "name": "Shop"}}

    assert page(node) == Page(
        [ExternalEntityRow(id=5, **REQUIRED, integration_id=7, integration_name="Shop")], None, last=None
    )


@pytest.mark.parametrize(
    ("fields", "integration_id", "name", "extra"),
    [
        ({}, None, None, {}),
        ({"integration": None}, None, None, {}),
        ({"integration": {}}, None, None, {}),
        ({"integration": {"id": "7"}}, 7, None, {}),
        ({"integration": {"id": 7, "name": None}}, 7, None, {}),
        ({"integration": 7}, None, None, {"integration": 7}),
        ({"integration": []}, None, None, {"integration": []}),
        ({"integration": {"id": "gid://7", "name": "Shop"}}, None, "Shop", {"integration_id": "gid://7"}),
        (
            {"integration": {"id": "7", "name": "Shop", "status": "active"}},
            7,
            "Shop",
            {"integration": {"id": "7", "name": "Shop", "status": "active"}},
        ),
        ({"code": 7, "integration": {"id": "7"}}, 7, None, {"code": 7}),
    ],
)
def test_what_is_odd_of_an_integration_takes_nothing_else_away(fields, integration_id, name, extra):
    read = row(**fields)

    assert (read.id, read.integration_id, read.integration_name, read.extra) == (1, integration_id, name, extra)


def test_a_row_without_an_id_is_told_of():
    read = page({"code": "SKU-1", "integration": {"id": "7"}})

    assert read.unreadable == [Unreadable("/data/external_entities/all/edges/0/node/id", "to be there")]


@pytest.mark.parametrize(
    ("wanted", "operators"),
    [
        ({}, {}),
        ({"entity_type": "product"}, {"entity_type": {"eq": "product"}}),
        ({"entity_type": ["product", "carrier"]}, {"entity_type": {"in": ["product", "carrier"]}}),
        ({"integration_id": 7}, {"integration_id": {"eq": 7}}),
        ({"integration_id": [7, 8]}, {"integration_id": {"in": [7, 8]}}),
        ({"code": "A", "code_contains": "b"}, {"code": {"eq": "A", "ilike": "b"}}),
        ({"description_contains": "x"}, {"description": {"ilike": "x"}}),
        ({"integration_name": "Shop"}, {"integration_name": {"eq": "Shop"}}),
        ({"external_system_reference1": ("p-1",)}, {"external_system_reference1": {"in": ["p-1"]}}),
    ],
)
def test_a_filter_speaks_the_servers_operators(wanted, operators):
    assert filter_variable(LISTING, ExternalEntityFilter(**wanted)) == operators


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ({"integration_id": "7"}, "must be an integer or a list of integers, not str"),
        ({"integration_id": [True]}, "must be an integer, not bool"),
        ({"integration_id": []}, "must not be an empty list"),
        ({"entity_type": [""]}, "must not be empty"),
        ({"code_contains": ["x"]}, "must be a string, not list"),
    ],
)
def test_a_filter_that_is_none_is_refused(wanted, reason):
    with pytest.raises(InvalidInputError) as caught:
        ExternalEntityFilter(**wanted)
    assert dict(caught.value.problems) == dict.fromkeys(wanted, reason)


def test_what_the_vendor_does_not_have_does_not_exist():
    assert not hasattr(ClarusClient.external_entities, "delete")
    assert not hasattr(ClarusClient.external_entities, "synchronize")
