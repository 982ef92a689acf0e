"""The base classes of the records of all resources."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal, Self, TypeAlias

import attrs

from clarus_async.errors import InputProblem, InvalidInputError
from clarus_async.pydantic_schema import PydanticRecord
from clarus_async.unset import UNSET, Unset
from clarus_async.validation import attributes_of, problems_of, shown

UnsetType: TypeAlias = Literal[Unset.UNSET]

AN_ID: Final[Mapping[str, bool]] = {"id": True}
"""Metadata of an attribute that is the id of another record: 123 in REST is "123" in GraphQL (CLARUS_API.md §1)."""


class CheckedRecord(PydanticRecord):
    """A record that a caller makes: every attribute is checked, and secrets are masked in its ``repr``."""

    __slots__ = ()
    __repr__ = shown

    def __attrs_post_init__(self) -> None:
        if problems := self._problems():
            raise InvalidInputError.of(type(self).__name__, problems)

    def _problems(self) -> list[InputProblem]:
        return problems_of(self)


class NewRecord(CheckedRecord):
    """A record to create; attributes that are ``None`` are left out."""

    __slots__ = ()

    noun: ClassVar[str]
    """One record, with its article, as messages have it."""

    @property
    def key(self) -> str:
        """Identifies the record among others of its resource."""
        raise NotImplementedError

    @classmethod
    def from_mapping(cls, attributes: Mapping[str, Any]) -> Self:
        """Build a record from parsed data, such as one line of a file.

        Args:
            attributes: attribute names and values; ``None`` counts as left out.

        Raises:
            InvalidInputError: an attribute is unknown, missing, of the wrong type or empty; every one is named.
        """
        result = cls._from_mapping(attributes)
        # It may hold secrets, and error trackers collect the local variables of every frame.
        del attributes
        if isinstance(result, list):
            raise InvalidInputError.of(cls.__name__, result)
        return result

    @classmethod
    def _from_mapping(cls, attributes: object) -> Self | list[InputProblem]:
        if not isinstance(attributes, Mapping):
            return [InputProblem("attributes", f"must be a mapping, not {type(attributes).__name__}")]
        fields = attributes_of(cls)
        required = [name for name, a in fields.items() if a.default is attrs.NOTHING]
        problems = [
            InputProblem(str(name), f"is no attribute of {cls.noun}" + _nearest(str(name), [*fields]))
            for name in attributes
            if name not in fields
        ]
        problems += [InputProblem(name, "is required") for name in required if attributes.get(name) is None]
        known = {name: attributes[name] for name in fields if attributes.get(name) is not None}
        # Placeholders for what is missing, so that the attributes that are there are checked all the same.
        placeholders = {name: "?" for name in required if name not in known}
        try:
            record = cls(**known | placeholders)
        except InvalidInputError as error:
            return [*problems, *(problem for problem in error.problems if problem.field not in placeholders)]
        return problems or record


class ChangesRecord(CheckedRecord):
    """Changes to a record: ``UNSET`` leaves an attribute as it is, ``None`` clears it."""

    __slots__ = ()

    def _problems(self) -> list[InputProblem]:
        problems = problems_of(self)
        if not problems and all(getattr(self, name) is UNSET for name in attributes_of(type(self))):
            return [InputProblem("changes", "at least one attribute must be given")]
        return problems


def _nearest(name: str, names: list[str]) -> str:
    import difflib  # noqa: PLC0415  only a mistake pays for it

    near = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {near[0]}?" if near else ""
