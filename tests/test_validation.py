"""How values are checked before anything is sent."""

import enum
import math
from collections import OrderedDict
from types import MappingProxyType

import attrs
import pytest

from clarus_async.errors import InvalidInputError
from clarus_async.validation import (
    flag_problem,
    hidden,
    is_text,
    number_problem,
    object_problem,
    plain_or_problem,
    refuse,
    text_problem,
)


@attrs.frozen
class Pair:
    left: object
    right: object = None


class Flags(enum.IntEnum):
    ONE = 1


class SecretKind(enum.Enum):
    CANARY = "canary"


@pytest.mark.parametrize("value", ["", "a", "ä", "\U0001f600", "a" * 10_000, "\x00"])
def test_what_utf_8_carries_is_text(value):
    assert is_text(value)


@pytest.mark.parametrize("value", ["\ud800", "a\udfffb", None, 1, b"a"])
def test_what_utf_8_does_not_carry_is_no_text(value):
    assert not is_text(value)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "must be a string, not NoneType"),
        (1, "must be a string, not int"),
        (b"x", "must be a string, not bytes"),
        (["x"], "must be a string, not list"),
        ("", "must not be empty"),
        (" \t\n", "must not be empty"),
        ("\ud800", "must be valid Unicode (it holds a lone surrogate)"),
        ("x", None),
        (" x ", None),
    ],
)
def test_why_something_is_no_usable_text(value, reason):
    assert text_problem(value) == reason


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (True, None),
        (False, None),
        (1, "must be true or false, not int"),
        ("true", "must be true or false, not str"),
        (None, "must be true or false, not NoneType"),
    ],
)
def test_why_something_is_no_boolean(value, reason):
    assert flag_problem(value) == reason


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (0, None),
        (-1, None),
        (2**63 - 1, None),
        (-(2**63), None),
        (2**63, "must be an integer of at most 64 bits"),
        (-(2**63) - 1, "must be an integer of at most 64 bits"),
        (10**400, "must be an integer of at most 64 bits"),
        (True, "must be an integer, not bool"),
        (1.0, "must be an integer, not float"),
        ("1", "must be an integer, not str"),
        (None, "must be an integer, not NoneType"),
    ],
)
def test_why_something_is_no_integer(value, reason):
    assert number_problem(value) == reason


@pytest.mark.parametrize("value", [{}, {"a": 1}, OrderedDict(a=1), MappingProxyType({"a": 1}), Pair(1)])
def test_a_mapping_or_an_attrs_instance_is_an_object(value):
    assert object_problem(value) is None


@pytest.mark.parametrize("value", [None, "a", 1, ["a"], [("a", 1)], Pair, {"a"}])
def test_anything_else_is_no_object(value):
    assert object_problem(value) == f"must be a mapping or an attrs instance, not {type(value).__name__}"


@pytest.mark.parametrize(
    "value",
    [None, True, False, 0, -1, 2**63 - 1, -(2**63), 1.5, "", "x", [], {}, {"": ""}, {"a": [{"b": [1, None]}]}],
)
def test_a_json_value_is_copied_as_it_is(value):
    assert plain_or_problem(value, "c") == (value, None)


def test_a_tuple_becomes_a_list():
    assert plain_or_problem((1, (2,)), "c") == ([1, [2]], None)


def test_any_mapping_becomes_a_dict():
    copy, _ = plain_or_problem(MappingProxyType({"a": OrderedDict(b=1)}), "c")

    assert copy == {"a": {"b": 1}}
    assert type(copy) is dict
    assert type(copy["a"]) is dict


def test_an_attrs_instance_becomes_an_object_without_what_is_none():
    assert plain_or_problem({"a": [Pair(Pair(1), None)]}, "c") == ({"a": [{"left": {"left": 1}}]}, None)


def test_the_copy_shares_nothing_with_what_was_given():
    inner = {"b": [1]}
    given = {"a": inner}
    copy, _ = plain_or_problem(given, "c")
    inner["b"].append(2)
    given["z"] = 1

    assert copy == {"a": {"b": [1]}}


@pytest.mark.parametrize(
    ("value", "field", "reason"),
    [
        ({"a": math.nan}, "c.a", "must be a finite number"),
        ({"a": [math.inf]}, "c.a[0]", "must be a finite number"),
        ({"a": [0, {"b": -math.inf}]}, "c.a[1].b", "must be a finite number"),
        ({"a": 2**63}, "c.a", "must be an integer of at most 64 bits"),
        ({"a": -(2**63) - 1}, "c.a", "must be an integer of at most 64 bits"),
        ({"a": "\ud800"}, "c.a", "must be valid Unicode (it holds a lone surrogate)"),
        ({1: "x"}, "c", "must have strings as keys"),
        ({"a": {None: "x"}}, "c.a", "must have strings as keys"),
        ({"\ud800": 1}, "c", "must have valid Unicode as keys (one holds a lone surrogate)"),
        ({"a": {1, 2}}, "c.a", "must be a JSON value, not set"),
        ({"a": b"x"}, "c.a", "must be a JSON value, not bytes"),
        ({"a": 1j}, "c.a", "must be a JSON value, not complex"),
        ({"a": object}, "c.a", "must be a JSON value, not type"),
        ({"a": Pair(1, {2})}, "c.a.right", "must be a JSON value, not set"),
    ],
)
def test_what_json_can_not_carry_is_named_with_its_place(value, field, reason):
    assert plain_or_problem(value, "c") == (None, (field, reason))


def nest(depth, kind):
    value = "x"
    for _ in range(depth):
        value = {"a": value} if kind is dict else [value]
    return value


@pytest.mark.parametrize("kind", [dict, list])
def test_nesting_is_carried_to_64_levels(kind):
    assert plain_or_problem(nest(64, kind), "c")[1] is None


@pytest.mark.parametrize("kind", [dict, list])
@pytest.mark.parametrize("depth", [65, 5_000])
def test_nesting_deeper_than_64_levels_is_refused(kind, depth):
    _, problem = plain_or_problem(nest(depth, kind), "c")

    assert problem.reason == "must not nest deeper than 64 levels"


def test_a_value_that_holds_itself_is_refused():
    value = {}
    value["a"] = value

    assert plain_or_problem(value, "c")[1].reason == "must not nest deeper than 64 levels"


class CountedInt(int):
    """An integer of a class of its own, as those of an IntEnum are; it notices a search that will not end."""

    compared = 0

    def __eq__(self, other):
        CountedInt.compared += 1
        if CountedInt.compared > 1_000:
            raise AssertionError("it is compared with every integer of 64 bits, one after the other")
        return int(self) == other

    __hash__ = int.__hash__


@pytest.fixture
def counted():
    CountedInt.compared = 0
    return CountedInt(7)


_LINEAR = "`x in range(...)` is a linear search for a subclass of int: checks.py:64 and :126 never return"


def test_an_integer_of_a_subclass_is_checked_at_once(counted):
    assert number_problem(counted) is None


def test_an_integer_of_a_subclass_in_a_configuration_is_checked_at_once(counted):
    assert plain_or_problem({"a": counted}, "c") == ({"a": 7}, None)


class OwnFloat(float):
    pass


class Shade(str, enum.Enum):  # noqa: UP042  the str of its members is not their value, unlike a StrEnum's
    RED = "red"


def test_a_float_of_a_subclass_becomes_a_plain_one():
    copy, _ = plain_or_problem({"a": OwnFloat(1.5)}, "c")

    assert type(copy["a"]) is float


def test_a_key_of_a_subclass_of_str_keeps_its_text():
    assert plain_or_problem({Shade.RED: 1}, "c") == ({"red": 1}, None)


def test_a_text_of_a_subclass_becomes_a_plain_one():
    copy, _ = plain_or_problem({"a": Shade.RED}, "c")

    assert type(copy["a"]) is str
    assert str(copy["a"]) == "red"


def test_hidden_shows_keys_and_no_values():
    assert hidden({"api_key": "canary", "b": {"c": "canary"}}) == "{'api_key': ***, 'b': ***}"


def test_hidden_shows_that_nothing_is_there():
    assert hidden(None) == "None"


@pytest.mark.parametrize("value", ["canary", ["canary"], Pair("canary"), 12345])
def test_hidden_shows_nothing_of_anything_else(value):
    assert hidden(value) == "***"


def test_hidden_shows_no_value_of_the_callers_enum():
    assert "canary" not in hidden(SecretKind.CANARY)


def test_refuse_names_every_problem():
    with pytest.raises(InvalidInputError, match=r"^Thing: a: is odd; c: is even$") as caught:
        refuse("Thing", [("a", "is odd"), ("b", None), ("c", "is even")])

    assert [problem.field for problem in caught.value.problems] == ["a", "c"]


def test_refuse_does_nothing_where_there_is_no_problem():
    refuse("Thing", [("a", None)])
