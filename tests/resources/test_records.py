"""Records: what they take, what they refuse, what they show."""

import copy
import math
import pickle

import attrs
import pytest

from clarus_async.errors import InvalidInputError
from clarus_async.resources.integrations import (
    INTEGRATION_TYPES,
    PROVIDERS,
    UNSET,
    Integration,
    IntegrationChanges,
    IntegrationFilter,
    IntegrationRow,
    NewIntegration,
    ShopifyConfiguration,
)
from tests.support.strategies import REFERENCES, STRINGS

CANARY = "canary-secret"
OPTIONAL_TEXTS = ("provider", *REFERENCES, *STRINGS)


def new(**attributes):
    return NewIntegration(**{"name": "Shop", "integration_type": "shopify"} | attributes)


def refused(make, *args, **kwargs):
    """The problems that a constructor names, by field."""
    with pytest.raises(InvalidInputError) as caught:
        make(*args, **kwargs)
    return dict(caught.value.problems)


def test_the_smallest_record_leaves_all_the_rest_out():
    assert attrs.asdict(new(), filter=lambda _, value: value is not None) == {
        "name": "Shop",
        "integration_type": "shopify",
    }


def test_a_record_is_keyword_only():
    with pytest.raises(TypeError):
        NewIntegration("Shop", "shopify")


def test_a_record_is_frozen():
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        new().name = "other"


def test_a_record_has_no_room_for_more():
    with pytest.raises(AttributeError):
        object.__setattr__(new(), "nmae", "other")


@pytest.mark.parametrize("field", ["name", "integration_type", *OPTIONAL_TEXTS])
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "must not be empty"),
        (" ", "must not be empty"),
        (1, "must be a string, not int"),
        (b"x", "must be a string, not bytes"),
        ("\udc00", "must be valid Unicode (it holds a lone surrogate)"),
    ],
)
def test_a_text_that_can_not_be_sent_is_refused(field, value, reason):
    assert refused(new, **{field: value}) == {field: reason}


@pytest.mark.parametrize("field", ["name", "integration_type"])
def test_what_is_required_can_not_be_none(field):
    assert refused(new, **{field: None}) == {field: "must be a string, not NoneType"}


@pytest.mark.parametrize("field", ["account_id", "warehouse_id"])
@pytest.mark.parametrize("value", ["1", 1.0, True, 2**63, -(2**63) - 1])
def test_a_number_that_can_not_be_sent_is_refused(field, value):
    assert list(refused(new, **{field: value})) == [field]


@pytest.mark.parametrize("value", [0, 1, "true"])
def test_a_flag_is_not_coerced(value):
    assert list(refused(new, is_active=value)) == ["is_active"]


@pytest.mark.parametrize("value", ["{}", [("a", 1)], 1, ShopifyConfiguration])
def test_a_configuration_that_is_no_object_is_refused(value):
    assert list(refused(new, configuration=value)) == ["configuration"]


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({"a": math.nan}, "configuration.a"),
        ({"a": [2**63]}, "configuration.a[0]"),
        ({"a": {"b": "\ud800"}}, "configuration.a.b"),
        ({"a": {1: 2}}, "configuration.a"),
        ({"a": {"b": object()}}, "configuration.a.b"),
    ],
)
def test_a_configuration_that_json_can_not_carry_is_named_with_its_place(value, field):
    assert list(refused(new, configuration=value)) == [field]


def test_every_wrong_attribute_is_named_at_once():
    problems = refused(NewIntegration, name="", integration_type=1, is_active="yes", account_id="x", configuration=3)

    assert list(problems) == ["name", "integration_type", "is_active", "account_id", "configuration"]


@pytest.mark.parametrize("value", ["ERP", "something new", "shopify"])
def test_an_unknown_type_or_provider_is_never_refused(value):
    record = new(integration_type=value, provider=value)

    assert (record.integration_type, record.provider) == (value, value)


def test_the_vendors_values_are_there_as_constants():
    assert set(INTEGRATION_TYPES) == {"ecommerce", "carrier", "marketplace", "erp", "accounting", "custom"}
    assert set(PROVIDERS) == {
        *("shopify", "woocommerce", "magento", "bigcommerce", "amazon", "ebay", "brightpearl", "xero"),
        *("quickbooks", "dhl", "dpd", "fedex", "ups", "royal_mail", "custom"),
    }


def test_the_key_is_the_first_reference():
    assert new(external_system_reference1="shop-1").key == "shop-1"


def test_the_key_is_the_name_where_there_is_no_reference():
    assert new(external_system_reference2="x").key == "Shop"


def test_changing_the_callers_mapping_afterwards_changes_nothing():
    given = {"api_key": "k", "nested": {"list": [1]}}
    record = new(configuration=given)
    given["api_key"] = "other"
    given["nested"]["list"].append(2)

    assert record.configuration == {"api_key": "k", "nested": {"list": [1]}}


def test_changing_the_callers_mapping_afterwards_changes_no_changes():
    given = {"a": [1]}
    changes = IntegrationChanges(configuration=given)
    given["a"].append(2)

    assert changes.configuration == {"a": [1]}


def test_the_vendors_configuration_is_shipped():
    record = new(configuration=ShopifyConfiguration(api_key="k", shop_domain="d"))

    assert record.configuration == {"api_key": "k", "shop_domain": "d"}


@pytest.mark.parametrize("value", ["", None, 1])
def test_the_shipped_configuration_checks_what_it_is_given(value):
    assert list(refused(ShopifyConfiguration, api_key=value, shop_domain="d")) == ["api_key"]


def test_a_record_can_be_changed_into_another():
    record = attrs.evolve(new(configuration={"a": 1}), name="Other")

    assert (record.name, record.configuration) == ("Other", {"a": 1})


def test_equal_records_hash_alike_though_a_configuration_has_no_hash():
    assert hash(new(configuration={"a": [1]})) == hash(new(configuration={"a": [1]}))


@pytest.mark.parametrize("travel", [copy.copy, copy.deepcopy, lambda record: pickle.loads(pickle.dumps(record))])
def test_a_record_travels(travel):
    record = new(configuration={"a": [1]}, is_active=False)

    assert travel(record) == record


@pytest.mark.parametrize(
    "record",
    [
        new(configuration={"api_key": CANARY}),
        new(configuration={"a": [{"b": CANARY}]}),
        new(configuration=ShopifyConfiguration(api_key=CANARY, shop_domain=CANARY)),
        IntegrationChanges(configuration={"api_key": CANARY}),
        ShopifyConfiguration(api_key=CANARY, shop_domain=CANARY),
        Integration(id=1, name="Shop", configuration={"api_key": CANARY}, extra={"token": CANARY}),
    ],
    ids=lambda record: type(record).__name__,
)
def test_no_repr_shows_a_configuration(record):
    assert CANARY not in f"{record!r} {record}"


def test_the_repr_shows_what_was_given_and_no_more():
    assert repr(new(is_active=False, configuration={"api_key": "k"})) == (
        "NewIntegration(name='Shop', integration_type='shopify', is_active=False, configuration={'api_key': ***})"
    )


def test_unset_shows_as_its_name():
    assert repr(UNSET) == "UNSET"


def test_a_row_does_not_show_what_it_does_not_know():
    row = IntegrationRow(id=1, name="Shop", created_at=None, extra={"token": CANARY})

    assert CANARY not in repr(row)


# Parsed data, such as one line of a file.


def test_from_mapping_builds_the_same_record():
    attributes = {"name": "Shop", "integration_type": "shopify", "configuration": {"a": 1}, "is_active": False}

    assert NewIntegration.from_mapping(attributes) == NewIntegration(**attributes)


def test_from_mapping_takes_none_as_left_out():
    assert NewIntegration.from_mapping({"name": "Shop", "integration_type": "x", "provider": None}) == new(
        integration_type="x"
    )


def test_from_mapping_names_an_unknown_attribute():
    problems = refused(NewIntegration.from_mapping, {"name": "Shop", "integration_type": "x", "colour": "red"})

    assert problems == {"colour": "is no attribute of an integration"}


def test_from_mapping_suggests_what_may_have_been_meant():
    problems = refused(NewIntegration.from_mapping, {"nmae": "Shop", "name": "Shop", "integration_type": "x"})

    assert problems == {"nmae": "is no attribute of an integration; did you mean name?"}


@pytest.mark.parametrize("name", [1, None, ("a",)])
def test_from_mapping_refuses_a_name_that_is_no_string(name):
    problems = refused(NewIntegration.from_mapping, {"name": "Shop", "integration_type": "x", name: 1})

    assert list(problems) == [str(name)]


@pytest.mark.parametrize("attributes", [{}, {"name": None, "integration_type": None}])
def test_from_mapping_names_what_is_missing(attributes):
    problems = refused(NewIntegration.from_mapping, attributes)

    assert problems == {"name": "is required", "integration_type": "is required"}


def test_from_mapping_names_all_that_is_unknown_missing_and_wrong_at_once():
    problems = refused(
        NewIntegration.from_mapping, {"integration_type": 1, "colour": 1, "is_active": "y", "configuration": {"a": {1}}}
    )

    assert list(problems) == ["colour", "name", "integration_type", "is_active", "configuration.a"]


def test_from_mapping_says_in_one_line_what_record_it_is():
    with pytest.raises(InvalidInputError, match=r"^NewIntegration: name: is required; integration_type: is required$"):
        NewIntegration.from_mapping({})


@pytest.mark.parametrize("attributes", [None, 1, ["name"], "name"])
def test_from_mapping_refuses_what_is_no_mapping(attributes):
    assert refused(NewIntegration.from_mapping, attributes)


# Changes.


@pytest.mark.parametrize("field", ["is_active", *STRINGS])
def test_what_the_vendor_calls_nullable_can_be_cleared(field):
    assert getattr(IntegrationChanges(**{field: None}), field) is None


@pytest.mark.parametrize("field", ["name", "configuration"])
def test_what_the_vendor_does_not_call_nullable_can_not_be_cleared(field):
    assert list(refused(IntegrationChanges, **{field: None})) == [field]


def test_changes_that_change_nothing_are_refused():
    assert refused(IntegrationChanges) == {"changes": "at least one attribute must be given"}


def test_an_empty_configuration_is_a_change():
    assert IntegrationChanges(configuration={}).configuration == {}


def test_what_is_not_given_stays_unset():
    changes = IntegrationChanges(is_active=False)

    assert changes.name is UNSET
    assert changes.configuration is UNSET


@pytest.mark.parametrize(
    "attributes",
    [{"name": ""}, {"name": 1}, {"is_active": 1}, {"configuration": []}, {"string1": ""}, {"string5": 5}],
)
def test_a_wrong_change_is_refused(attributes):
    assert list(refused(IntegrationChanges, **attributes)) == list(attributes)


@pytest.mark.parametrize("field", ["integration_type", "provider", "account_id", "warehouse_id", *REFERENCES])
def test_what_can_not_be_changed_is_no_attribute_of_changes(field):
    with pytest.raises(TypeError):
        IntegrationChanges(**{field: "x"})


# Filters.


@pytest.mark.parametrize("field", ["name", "provider", "integration_type", "status"])
@pytest.mark.parametrize("value", ["x", ["x"], ["x", "y"], ("x",)])
def test_a_filter_takes_one_value_or_several(field, value):
    assert getattr(IntegrationFilter(**{field: value}), field) in (value, tuple(value))


@pytest.mark.parametrize("field", ["name", "provider", "integration_type", "status"])
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "must not be empty"),
        ([], "must not be an empty list"),
        ([""], "must not be empty"),
        (["x", 1], "must be a string, not int"),
        (["\ud800"], "must be valid Unicode (it holds a lone surrogate)"),
        (1, "must be a string or a list of strings, not int"),
        ({"x"}, "must be a string or a list of strings, not set"),
    ],
)
def test_a_wrong_filter_is_refused(field, value, reason):
    assert refused(IntegrationFilter, **{field: value}) == {field: reason}


@pytest.mark.parametrize("value", ["", 1, ["x"]])
def test_a_part_of_a_name_is_one_text(value):
    assert list(refused(IntegrationFilter, name_contains=value)) == ["name_contains"]


def test_an_empty_filter_is_one():
    assert IntegrationFilter() == IntegrationFilter(name=None)


def test_changing_the_callers_list_afterwards_changes_no_filter():
    names = ["x"]
    wanted = IntegrationFilter(name=names)
    names.clear()

    assert list(wanted.name) == ["x"]


def test_a_filter_of_several_values_can_be_hashed():
    assert isinstance(hash(IntegrationFilter(name=["x"])), int)
