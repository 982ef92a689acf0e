"""What the rows of a file become: records to create, changes to records that are there, or ids."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import attrs

from clarus_async.errors import InputProblem, InvalidInputError
from clarus_async.provisioning.files.attribute_types import AttributeType, ValueType, attribute_types
from clarus_async.reconcile.pending import lookup_keys
from clarus_async.resources.spec import AnySpec
from clarus_async.validation import number_problem

NULL: Final = r"\N"
"""A cell that clears an attribute, as databases export it; an empty one leaves it as it is."""


class ById(NamedTuple):
    """A record that is there, and what is to be changed of it, if that is what the file is for."""

    id: int
    changes: Any = None


class Key(NamedTuple):
    """What must not be twice in a file."""

    field: str
    text: str


@attrs.frozen(kw_only=True, eq=False)
class Target:
    """What rows become.

    Args:
        spec: the resource.
        types: the attributes that a row may have.
        build: makes what was read into a record, or raises ``InvalidInputError``.
        key: what tells one from the others.
        is_new: records to create; else each row has an id.
        takes_all: other columns are left out without a word.
    """

    spec: AnySpec
    types: Mapping[str, AttributeType]
    build: Callable[[Mapping[str, Any]], Any]
    key: Callable[[Any], Key]
    is_new: bool = False
    takes_all: bool = False

    @property
    def required(self) -> list[str]:
        """The attributes that every row has."""
        return [name for name, attribute in self.types.items() if attribute.is_required]


_ID: Final = {"id": AttributeType(ValueType.INTEGER, is_required=True, takes_several=False)}


def _key_of_id(row: ById) -> Key:
    return Key("id", str(row.id))


def new_records(spec: AnySpec) -> Target:
    """Return the target of a file of records to create."""

    def key(new: object) -> Key:
        first = lookup_keys(spec, new)[0]
        return Key(first.field, first.text)

    return Target(spec=spec, types=attribute_types(spec.new), build=spec.new.from_mapping, key=key, is_new=True)


def changes_by_id(spec: AnySpec) -> Target:
    """Return the target of a file of changes, each of the record that its ``id`` names; rows become ``ById``."""
    known = attribute_types(spec.changes)

    def build(attributes: Mapping[str, Any]) -> ById:
        problems = _id_problems(attributes)
        problems += [InputProblem(name, f"is {UNCHANGEABLE} {spec.noun}") for name in attributes if name not in types]
        try:
            changes = spec.changes(**{name: value for name, value in attributes.items() if name in known})
        except InvalidInputError as error:
            problems += error.problems
        if problems:
            raise InvalidInputError.of("changes", problems)
        return ById(attributes["id"], changes)

    types = {**_ID, **known}
    return Target(spec=spec, types=types, build=build, key=_key_of_id)


def ids(spec: AnySpec) -> Target:
    """Return the target of a file of ids, whatever else is in it; rows become ``ById``."""

    def build(attributes: Mapping[str, Any]) -> ById:
        if problems := _id_problems(attributes):
            raise InvalidInputError.of("id", problems)
        return ById(attributes["id"])

    return Target(spec=spec, types=_ID, build=build, key=_key_of_id, takes_all=True)


UNCHANGEABLE: Final = "nothing that can be changed of"


def _id_problems(attributes: Mapping[str, Any]) -> list[InputProblem]:
    given = attributes.get("id")
    reason = "is required" if given is None else number_problem(given)
    return [] if reason is None else [InputProblem("id", reason)]
