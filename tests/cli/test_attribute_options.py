"""The options of a command are the attributes of its record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import attrs
import click
import pytest

from clarus_async.cli.attribute_options import attribute_options, given_attributes, typed
from clarus_async.cli.commands import parse
from clarus_async.cli.parser import Command
from clarus_async.errors import InvalidInputError
from clarus_async.resources.integrations import INTEGRATIONS, IntegrationFilter, NewIntegration
from clarus_async.resources.table import RESOURCES


@attrs.frozen(kw_only=True)
class MoonFilter:
    """Which moons.

    Args:
        code: of the moon, 100 % its own,
            such as ``Io`` (CLARUS_API.md §1).
        planet_id: what it goes round.
    """

    code: str | Sequence[str] | None = None
    planet_id: int | Sequence[int] | None = None
    moon_shape: str | None = None
    is_inner: bool | None = None
    orbit: Mapping[str, Any] | None = None


@attrs.frozen(kw_only=True)
class NewMoon:
    noun: ClassVar[str] = "a moon"

    code: str


MOONS = attrs.evolve(INTEGRATIONS, name="moons", new=NewMoon)


def command_of(record, spec):
    return Command("x", "x", "Do x.", [], attribute_options(record, spec))


def parsed(line):
    return command_of(MoonFilter, MOONS).main(line, "x", standalone_mode=False)


def test_values_are_of_the_annotated_types():
    line = ["--code", "Io", "--planet-id", "5", "--planet-id", "6", "--shape", "round", "--no-inner"]

    assert given_attributes(parsed(line), MoonFilter) == {
        "code": "Io",
        "planet_id": [5, 6],
        "moon_shape": "round",
        "is_inner": False,
    }


def test_what_is_not_given_is_left_out():
    assert given_attributes(parsed([]), MoonFilter) == {}


def test_every_value_of_a_wrong_type_is_named():
    with pytest.raises(InvalidInputError, match=r"planet_id: 'five' is no integer in digits.*is_inner: 'perhaps' is"):
        typed(MoonFilter, {"planet_id": ("five",), "is_inner": "perhaps"})


def test_help_says_what_the_class_says():
    command = command_of(MoonFilter, MOONS)
    shown = " ".join(command.get_help(click.Context(command)).split())

    assert "--code VALUE of the moon, 100 % its own, such as Io --planet-id VALUE what it goes round" in shown
    assert "--orbit" not in shown


@pytest.mark.parametrize("record", [NewIntegration, IntegrationFilter])
def test_the_options_of_integrations(record):
    options = {
        name for option in attribute_options(record, INTEGRATIONS) for name in option.opts + option.secondary_opts
    }

    assert options >= {"--name", "--type", "--provider", "--active", "--inactive"}
    assert "--configuration" not in options


def test_a_command_takes_the_options_of_the_resource_that_it_names(monkeypatch):
    monkeypatch.setitem(RESOURCES, "moons", attrs.evolve(MOONS, listing=attrs.evolve(MOONS.listing, filter=MoonFilter)))
    line = ["list", "--resource", "moons", "--planet-id", "5"]

    assert parse(line).resource.name == "moons"
    assert parse(["list", "--resource=moons", "--planet-id", "5"]).attribute_planet_id == ("5",)
    assert parse(["list", "--planet-id", "5", "--name", "A"]) == 2
