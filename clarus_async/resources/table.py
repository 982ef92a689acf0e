"""The resources by name: what ``--resource`` takes, and what a shard says that its records are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from clarus_async.resources.external_entities import EXTERNAL_ENTITIES
from clarus_async.resources.integrations import INTEGRATIONS
from clarus_async.resources.spec import AnySpec

RESOURCES: Final[Mapping[str, AnySpec]] = {spec.name: spec for spec in (INTEGRATIONS, EXTERNAL_ENTITIES)}
"""Every resource. The first is what the command line takes where it is not told."""
