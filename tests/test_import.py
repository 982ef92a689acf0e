"""What an import brings with it."""

import functools
import importlib
import subprocess
import sys

import pytest

import clarus_async

OPTIONAL = {"rich", "graphql", "uvloop", "pytest", "opentelemetry", "redis", "celery", "pydantic_core"}
LATER = {"cattrs", "tenacity"}
HEAVY = {"aiohttp", "attr", "multidict", "orjson", "ssl", "yarl"}
CLIENT = "from clarus_async import ClarusClient"


@functools.cache
def loaded_by(program):
    code = f"import sys\n{program}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_package_imports_nothing_optional():
    assert loaded_by(CLIENT).isdisjoint(OPTIONAL)


def test_what_only_some_need_is_imported_when_they_need_it():
    assert loaded_by(CLIENT).isdisjoint(LATER)


def test_a_name_brings_what_it_needs():
    assert loaded_by("import clarus_async").isdisjoint(HEAVY | {"asyncio"})
    assert loaded_by("from clarus_async import RetryPolicy").isdisjoint(HEAVY - {"attr"})
    assert loaded_by(CLIENT) >= HEAVY


def test_the_command_line_and_the_simulator_import_nothing_optional_by_themselves():
    assert loaded_by("import clarus_async.cli.commands, clarus_async.simulator").isdisjoint(OPTIONAL)


def test_what_only_some_programs_need_is_imported_when_it_is_asked_for():
    code = (
        "import sys, clarus_async; late = {'clarus_async.provisioning.engine', 'clarus_async.auth.authorization_code'};"
        "print(late & set(sys.modules)); from clarus_async import *; print(late & set(sys.modules), AuthorizationCode)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    there = "{'clarus_async.auth.authorization_code'} <class 'clarus_async.auth.authorization_code.AuthorizationCode'>"
    assert done.stdout.splitlines() == ["set()", there]


def test_a_resource_is_imported_when_it_is_first_used():
    code = (
        "import sys; from clarus_async import AccessToken, ClarusClient, NewIntegration; client = ClarusClient('acme',"
        "AccessToken('t')); name = 'clarus_async.resources.external_entities'; client.integrations;"
        "print(name in sys.modules, type(client.external_entities).__name__, name in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False ExternalEntities True\n"


def test_its_modules_are_attributes():
    code = "import clarus_async; print(clarus_async.errors.ClarusError is clarus_async.ClarusError)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_every_name_has_a_home():
    homes = [vars(importlib.import_module(f"clarus_async.{path}")) for path in clarus_async._MODULES]
    for name in set(clarus_async.__all__) - {"__version__"}:
        assert any(name in home for home in homes), name


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'clarus_async' has no attribute 'Nothing'"):
        _ = clarus_async.Nothing
    assert dir(clarus_async) == sorted(clarus_async.__all__)
