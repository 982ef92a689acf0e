"""Annotations of what is public resolve at run time: pydantic, FastAPI and dependency injection read them."""

import importlib
import inspect
import pkgutil
import typing

import pytest

import clarus_async
import clarus_async.simulator

PUBLIC = [
    "clarus_async", *(f"clarus_async.{module}" for module in (
        "auth.authorization_code", "calls.queries", "client", "config", "credentials", "errors", "events",
        "fleet.celery", "fleet.coordinator", "fleet.lease", "fleet.redis", "fleet.redis_url", "fleet.shard_store",
        "fleet.shards", "fleet.split_file", "opentelemetry", "provisioning.report", "provisioning.run",
        "resources.external_entities", "resources.integrations",
        "resources.records", "resources.resource", "resources.spec", "resources.typed_external_entities",
        "resources.typed_integrations",
        "simulator", "unset", "validation",
    )),
    *(module.name for module in pkgutil.iter_modules(clarus_async.simulator.__path__, "clarus_async.simulator.")),
]  # fmt: skip
# These name a type of redis-py, which is optional, and one of aiohttp that it does not import.
OF_OTHERS = {"Response", "connect", "probe", "ShardStore.__init__", "RedisAddress.client"}


def annotated(module):
    """Every class and function of a module, its methods and properties included, by name."""
    for name in vars(module).get("__all__", vars(module)):
        thing = getattr(module, name)
        own = module.__name__ if "__all__" not in vars(module) else "clarus_async"
        if name.startswith("_") or not getattr(thing, "__module__", "").startswith(own):
            continue
        if inspect.isfunction(thing):
            yield name, thing
        elif inspect.isclass(thing):
            yield name, thing
            for attribute, value in vars(thing).items():
                method = getattr(value, "fget", None) or getattr(value, "__func__", value)
                if inspect.isfunction(method) and (attribute == "__init__" or not attribute.startswith("_")):
                    yield f"{name}.{attribute}", method


@pytest.mark.parametrize("name", PUBLIC)
def test_annotations_resolve(name):
    for where, thing in annotated(importlib.import_module(name)):
        if where not in OF_OTHERS:
            try:
                typing.get_type_hints(thing)
            except (NameError, TypeError) as error:
                pytest.fail(f"{where}: {error}")


def test_every_public_name_is_looked_at():
    assert len(list(annotated(clarus_async))) > 100
