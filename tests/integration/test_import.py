"""What an import brings with it."""

import functools
import subprocess
import sys

import pytest

import clarus_async

OPTIONAL = {"rich", "graphql", "uvloop", "pytest", "opentelemetry", "redis", "celery", "pydantic_core"}
LATER = {"cattrs", "tenacity"}


@functools.cache
def loaded_by(program):
    code = f"import sys\n{program}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_package_imports_nothing_optional():
    assert loaded_by("import clarus_async").isdisjoint(OPTIONAL)


def test_what_only_some_need_is_imported_when_they_need_it():
    assert loaded_by("import clarus_async").isdisjoint(LATER)


def test_the_command_line_and_the_simulator_import_nothing_optional_by_themselves():
    assert loaded_by("import clarus_async.cli.commands, clarus_async.simulator").isdisjoint(OPTIONAL)


def test_what_only_some_programs_need_is_imported_when_it_is_asked_for():
    code = (
        "import sys, clarus_async; late = {'clarus_async.provisioning.engine', 'clarus_async.transport.authorization'};"
        "print(late & set(sys.modules)); from clarus_async import *; print(late & set(sys.modules), AuthorizationCode)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    there = "{'clarus_async.transport.authorization'} <class 'clarus_async.transport.authorization.AuthorizationCode'>"
    assert done.stdout.splitlines() == ["set()", there]


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'clarus_async' has no attribute 'Nothing'"):
        _ = clarus_async.Nothing
    assert dir(clarus_async) == sorted(clarus_async.__all__)
