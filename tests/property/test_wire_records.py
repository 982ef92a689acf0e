"""Records to bytes and back: nothing is lost, nothing is coerced, and what is wrong is named where it stands."""

from __future__ import annotations

import attrs
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clarus_async.resources.external_entities import EXTERNAL_ENTITIES, ExternalEntity
from clarus_async.resources.integrations import INTEGRATIONS, UNSET, Integration
from clarus_async.wire.envelope import changes_body, create_body, read_changed, read_created
from clarus_async.wire.graphql import filter_variable, read_page, request_body
from clarus_async.wire.reading import Unreadable
from tests.support.strategies import (
    HERE,
    REFERENCES,
    STRINGS,
    answer_attributes,
    any_texts,
    holding,
    ids,
    integration_changes,
    integration_filters,
    json_of,
    json_scalars,
    json_values,
    new_entities,
    new_integrations,
    quick,
    row_nodes,
    texts,
    thorough,
)

few = settings(quick, max_examples=12)

TEXT, FLAG, NUMBER, OBJECT, ID = "text", "flag", "number", "object", "id"
HOLDS = {
    "id": ID,
    "name": TEXT,
    "integration_type": TEXT,
    "provider": TEXT,
    "is_active": FLAG,
    "account_id": NUMBER,
    "warehouse_id": NUMBER,
    "configuration": OBJECT,
    **dict.fromkeys((*REFERENCES, *STRINGS), TEXT),
}
ROW_HOLDS = {
    "id": ID,
    "name": TEXT,
    "integration_provider": TEXT,
    "integration_type": TEXT,
    "status": TEXT,
    "enabled": FLAG,
    "created_at": "time",
    "external_system_reference1": TEXT,
}
REQUIRED = {"id"}


def plain(value):
    """What JSON carries of a record's attribute."""
    if attrs.has(type(value)):
        return {name: item for name, item in attrs.asdict(value).items() if item is not None}
    return value


def is_wrong(holds, value, *, required):
    """Whether an attribute may not hold this, by CLARUS_API.md."""
    if value is None:
        return required
    if holds == TEXT:
        return not isinstance(value, str)
    if holds == FLAG:
        return not isinstance(value, bool)
    if holds == OBJECT:
        return not isinstance(value, dict)
    if holds == NUMBER:
        return isinstance(value, bool) or not isinstance(value, int)
    if holds == ID:
        return isinstance(value, bool) or not (isinstance(value, int) or (isinstance(value, str) and value.isdigit()))
    return True  # nothing that json_values draws is a time


def resolve(document, pointer):
    """Follow a JSON Pointer (RFC 6901)."""
    for token in pointer.split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        document = document[int(name)] if isinstance(document, list) else document[name]
    return document


def wrap(attributes, identifier):
    return {"data": {"id": identifier, "type": "integrations", "attributes": attributes}}


def rows(*nodes):
    return {"data": {"integrations": {"all": {"edges": [{"node": node} for node in nodes]}}}}


def read_rows(document):
    return read_page(INTEGRATIONS.listing, orjson.loads(orjson.dumps(document))["data"])


@given(new_integrations)
@thorough
def test_create_sends_what_was_given_and_nothing_else(record):
    sent = orjson.loads(create_body(INTEGRATIONS, record))

    expected = {name: plain(value) for name, value in attrs.asdict(record, recurse=False).items() if value is not None}
    assert sent == {"data": {"type": "integrations", "attributes": expected}}


@given(new_integrations, ids, st.booleans())
@thorough
def test_a_record_that_the_server_echoes_comes_back_whole(record, identifier, bare):
    attributes = orjson.loads(create_body(INTEGRATIONS, record))["data"]["attributes"]
    document = attributes | {"id": identifier} if bare else wrap(attributes, identifier)

    assert read_created(INTEGRATIONS, orjson.dumps(document)) == Integration(id=identifier, **attributes)


@given(new_entities, ids, st.booleans(), st.booleans())
@thorough
def test_a_bare_resource_comes_back_whole_too(record, identifier, bare, as_text):
    attributes = orjson.loads(create_body(EXTERNAL_ENTITIES, record))["data"]["attributes"]
    document = attributes | {"id": identifier} if bare else wrap(attributes, identifier)
    expected = ExternalEntity(id=identifier, **attributes)
    if as_text and "integration_id" in attributes:
        (document if bare else attributes)["integration_id"] = str(attributes["integration_id"])

    assert read_created(EXTERNAL_ENTITIES, orjson.dumps(document)) == expected


@given(new_entities, ids, st.none() | texts, st.sampled_from([{}, {"status": "active"}]))
@thorough
def test_a_row_of_a_bare_resource_is_the_record_as_far_as_the_list_tells(record, identifier, name, more):
    integration = None if record.integration_id is None else {"id": str(record.integration_id), "name": name} | more
    listed = {"code", "description", "entity_type", "external_system_reference1"}
    node = {name: getattr(record, name) for name in listed} | {"id": str(identifier), "integration": integration}
    page = read_page(EXTERNAL_ENTITIES.listing, {"external_entities": {"all": {"edges": [{"node": node}]}}})

    assert page.unreadable == ()
    assert {name: getattr(page.rows[0], name) for name in listed} == {name: getattr(record, name) for name in listed}
    assert (page.rows[0].id, page.rows[0].integration_id) == (identifier, record.integration_id)
    assert page.rows[0].extra == ({"integration": integration} if integration and more else {})


@given(integration_changes, ids)
@quick
def test_a_patch_sends_null_for_none_and_nothing_for_unset(changes, identifier):
    sent = orjson.loads(changes_body(INTEGRATIONS, identifier, changes))

    expected = {
        name: plain(value) for name, value in attrs.asdict(changes, recurse=False).items() if value is not UNSET
    }
    assert sent == {"data": {"id": str(identifier), "type": "integrations", "attributes": expected}}


@given(integration_filters)
@quick
def test_a_filter_is_operators_that_json_carries(wanted):
    operators = filter_variable(INTEGRATIONS.listing, wanted)

    assert orjson.loads(request_body("", {"filter": operators}))["variables"]["filter"] == operators
    assert all(value is not None for by_name in operators.values() for value in by_name.values())


@given(answer_attributes, ids, st.dictionaries(any_texts, json_values, max_size=4))
@thorough
def test_any_unknown_attribute_is_kept(attributes, identifier, added):
    unknown = {name: value for name, value in added.items() if name not in HOLDS}
    record = read_created(INTEGRATIONS, orjson.dumps(wrap(attributes | unknown, identifier)))

    assert record == Integration(id=identifier, **attributes, extra=unknown)


@given(st.lists(row_nodes, max_size=3), st.dictionaries(any_texts, json_values, max_size=4))
@quick
def test_any_unknown_field_of_a_row_is_kept(nodes, added):
    unknown = {name: value for name, value in added.items() if name not in ROW_HOLDS}
    page = read_rows(rows(*(node | unknown for node in nodes)))

    assert [row.extra for row in page.rows] == [unknown] * len(nodes)


@given(st.lists(row_nodes, max_size=3))
@quick
def test_a_row_is_read_in_the_vocabulary_of_rest(nodes):
    page = read_rows(rows(*nodes))

    for row, node in zip(page.rows, nodes, strict=True):
        assert (row.id, row.name, row.created_at.isoformat()) == (int(node["id"]), node["name"], node["created_at"])
        assert (row.provider, row.is_active) == (node.get("integration_provider"), node.get("enabled"))


# Wrong values hold a canary wherever they hold a text, so that it shows if a value does.
no_texts = json_scalars.filter(lambda value: not isinstance(value, str))
wrong_values = holding(json_of(no_texts | st.just(HERE)))


def check_unreadable(read, document, pointer, canary):
    assert isinstance(read, Unreadable)
    assert read.pointer == pointer
    resolve(document, pointer)
    assert canary not in f"{read!r} {read}"
    assert read.expected


@pytest.mark.parametrize("bare", [False, True], ids=["wrapped", "bare"])
@given(data=st.data(), attributes=answer_attributes, identifier=ids, wrong=wrong_values)
@quick
def test_what_is_odd_in_an_integration_costs_that_attribute_alone(data, attributes, identifier, wrong, bare):
    canary, value = wrong
    odd = [name for name in HOLDS if is_wrong(HOLDS[name], value, required=name in REQUIRED)]
    field = data.draw(st.sampled_from(odd))
    changed = attributes | {field: value}
    if bare:
        document, pointer = {"id": identifier} | changed, "/id"
    else:
        document = wrap({name: held for name, held in changed.items() if name != "id"}, identifier)
        pointer = "/data/id"
        if field == "id":
            document["data"]["id"] = value
    read = read_created(INTEGRATIONS, orjson.dumps(document))

    if field == "id":
        check_unreadable(read, document, pointer, canary)
    else:
        others = {name: held for name, held in attributes.items() if name != field}
        assert read == Integration(id=identifier, **others, extra={field: value})
        assert canary not in f"{read!r} {read}"


@given(data=st.data(), nodes=st.lists(row_nodes, min_size=1, max_size=3), wrong=wrong_values)
@quick
def test_what_is_odd_in_a_row_costs_no_other_row(data, nodes, wrong):
    canary, value = wrong
    odd = [name for name in ROW_HOLDS if is_wrong(ROW_HOLDS[name], value, required=name in REQUIRED)]
    field, at = data.draw(st.sampled_from(odd)), data.draw(st.integers(0, len(nodes) - 1))
    document = rows(*(node | {field: value} if n == at else node for n, node in enumerate(nodes)))
    read, whole = read_rows(document), read_rows(rows(*nodes))

    assert [*read.rows[:at], *read.rows[len(read.rows) + at + 1 - len(nodes) :]] == [
        row for n, row in enumerate(whole.rows) if n != at
    ]
    if field == "id":
        [unreadable] = read.unreadable
        check_unreadable(unreadable, document, f"/data/integrations/all/edges/{at}/node/id", canary)
    else:
        assert not read.unreadable
        assert read.rows[at].id == whole.rows[at].id
        assert read.rows[at].extra == ({} if value is None else {field: value})
        assert canary not in repr(read)


LIST = rows({"id": 1, "name": "x", "created_at": "2026-01-10T12:00:00Z"})
LIST["data"]["integrations"]["all"]["pageInfo"] = {"hasNextPage": True, "endCursor": "x"}


def replaced(document, pointer, value):
    if not pointer:
        return value
    document = orjson.loads(orjson.dumps(document))
    parent, _, name = pointer.rpartition("/")
    holder = resolve(document, parent)
    holder[int(name) if isinstance(holder, list) else name] = value
    return document


@pytest.mark.parametrize(
    "pointer",
    [
        "/data/integrations",
        "/data/integrations/all",
        "/data/integrations/all/edges",
        "/data/integrations/all/pageInfo/hasNextPage",
        "/data/integrations/all/pageInfo/endCursor",
    ],
)
@given(wrong=wrong_values)
@few
def test_a_wrong_type_in_a_page_is_named_where_it_stands(pointer, wrong):
    canary, value = wrong
    # Nothing that json_values draws is right anywhere here once it is hidden from what takes an object, an array,
    # a flag or a cursor.
    if isinstance(value, dict | list | bool | str):
        value = 7 if pointer.endswith("edges") or isinstance(value, bool | str) else [[value]]
    document = replaced(LIST, pointer, value)

    check_unreadable(read_rows(document), document, pointer, canary)


@given(
    st.binary(max_size=60)
    | json_values.map(orjson.dumps)
    | answer_attributes.map(lambda a: orjson.dumps(wrap(a, "x"))),
    integration_changes,
    ids,
)
@thorough
def test_whatever_an_update_is_answered_it_has_its_id_or_the_one_that_was_told(body, changes, identifier):
    read = read_changed(INTEGRATIONS, body, identifier, changes)

    assert isinstance(read, Integration)
    assert read.id == identifier or str(read.id).encode() in body
