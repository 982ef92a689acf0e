"""The attributes of a record or a filter as options of the command line, read from its class."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, Final

from clarus_async.cli.parser import Option
from clarus_async.errors import InputProblem, InvalidInputError
from clarus_async.provisioning.files.attribute_types import AttributeType, ValueType, attribute_types, from_text
from clarus_async.resources.spec import AnySpec

_UNSAID: Final[Mapping[str, str]] = {"is_active": "--inactive"}
"""Options that say no, where another word than one with ``no-`` before it is the common one."""


def attribute_options(record: type[Any], spec: AnySpec) -> list[Option]:
    """Return an option for each attribute of ``record`` that can be given as text; an object comes as JSON instead."""
    return [
        _option(name, kind, spec, _meanings(record).get(name, ""))
        for name, kind in attribute_types(record).items()
        if kind.value is not ValueType.OBJECT
    ]


def _option(name: str, kind: AttributeType, spec: AnySpec, meaning: str) -> Option:
    option, dest = _called(name, spec), f"attribute_{name}"
    made = Option(f"{option} VALUE", meaning, dest=dest, multiple=kind.takes_several)
    if kind.value is ValueType.FLAG:
        no = _UNSAID.get(name, option.replace("--", "--no-", 1))
        made = Option(f"{option}/{no}", meaning, dest=dest, default=None)
    made.section = "Attributes"
    return made


def given_attributes(args: SimpleNamespace, record: type[Any]) -> dict[str, Any]:
    """Return the attributes that the options gave, as values of their types."""
    given = {name: getattr(args, f"attribute_{name}", None) for name in attribute_types(record)}
    texts = {name: value for name, value in given.items() if value is not None and value != ()}
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
        items = [read(name, item) for item in value] if isinstance(value, tuple) else [read(name, value)]
        values[name] = items[0] if len(items) == 1 else items
    if problems:
        raise InvalidInputError.of("attributes", problems)
    return values


def _called(name: str, spec: AnySpec) -> str:
    """Return the option of an attribute: what every record of the resource has in its name is left out."""
    noun = spec.noun.split(" ", 1)[1].replace(" ", "_")
    short = re.sub(rf"^(is|external_system|{noun})_", "", name)
    return "--" + short.replace("_", "-")


def _meanings(record: type[Any]) -> dict[str, str]:
    """Return what the docstring of a class says of each of its attributes."""
    section = (inspect.getdoc(record) or "").partition("\nArgs:\n")[2].partition("\n\n")[0]
    section = re.sub(r"\n {5,}", " ", section).replace("``", "")  # what goes on in a further line
    found = re.findall(r"^ {4}(\w+): (.*?)(?: \(CLARUS_API\.md [^)]*\))?\.?$", section, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}
