"""The attributes of a record or a filter as options of the command line, read from its class."""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Mapping
from typing import Any, Final

from clarus_async.errors import InputProblem, InvalidInputError
from clarus_async.provisioning.files.attribute_types import ValueType, attribute_types, from_text
from clarus_async.resources.spec import AnySpec

_UNSAID: Final[Mapping[str, str]] = {"is_active": "--inactive"}
"""Options that say no, where another word than one with ``no-`` before it is the common one."""


def add_attribute_options(parser: argparse.ArgumentParser, record: type[Any], spec: AnySpec, title: str) -> None:
    """Add an option for each attribute of ``record`` that can be given as text; an object comes as JSON instead."""
    types, meanings = attribute_types(record), _meanings(record)
    several = "An option given several times means any of its values."
    group = parser.add_argument_group(title, several if any(kind.takes_several for kind in types.values()) else None)
    for name, kind in types.items():
        option, dest, meaning = _option(name, spec), _dest(name), meanings.get(name)
        if kind.value is ValueType.FLAG:
            either = group.add_mutually_exclusive_group()
            either.add_argument(option, dest=dest, action="store_true", default=None, help=meaning)
            no = _UNSAID.get(name, option.replace("--", "--no-", 1))
            either.add_argument(no, dest=dest, action="store_false", default=None, help=f"the opposite of {option}")
        elif kind.value is not ValueType.OBJECT:
            action = "append" if kind.takes_several else "store"
            group.add_argument(option, dest=dest, metavar="VALUE", action=action, help=meaning)


def given_attributes(args: argparse.Namespace, record: type[Any]) -> dict[str, Any]:
    """Return the attributes that the options gave, as values of their types."""
    texts = {name: value for name in attribute_types(record) if (value := getattr(args, _dest(name), None)) is not None}
    return typed(record, texts)


def typed(record: type[Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Read what is given as text by the types of a record's attributes.

    Raises:
        InvalidInputError: some are of the wrong type; every one is named.
    """
    problems: list[InputProblem] = []

    def read(name: str, value: object) -> object:
        result = from_text(record, name, value) if isinstance(value, str) else value
        if isinstance(result, InputProblem):
            problems.append(result)
        return result

    values: dict[str, Any] = {}
    for name, value in given.items():
        items = [read(name, item) for item in value] if isinstance(value, list) else [read(name, value)]
        values[name] = items[0] if len(items) == 1 else items
    if problems:
        raise InvalidInputError.of("attributes", problems)
    return values


def _option(name: str, spec: AnySpec) -> str:
    """Return the option of an attribute: what every record of the resource has in its name is left out."""
    noun = spec.noun.split(" ", 1)[1].replace(" ", "_")
    short = re.sub(rf"^(is|external_system|{noun})_", "", name)
    return "--" + short.replace("_", "-")


def _dest(name: str) -> str:
    # No other option of a command has a dot in it.
    return f"attribute.{name}"


def _meanings(record: type[Any]) -> dict[str, str]:
    """Return what the docstring of a class says of each of its attributes."""
    section = (inspect.getdoc(record) or "").partition("\nArgs:\n")[2].partition("\n\n")[0]
    section = re.sub(r"\n {5,}|``", " ", section)  # what goes on in a further line
    found = re.findall(r"^ {4}(\w+): (.*?)(?: \(CLARUS_API\.md [^)]*\))?\.?$", section, re.MULTILINE)
    return {name: " ".join(text.split()).replace("%", "%%") for name, text in found}
