"""A Clarus server to test against: real HTTP, the documented behaviour, quotas and faults (CLARUS_API.md)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clarus_async.simulator.app import Simulator
    from clarus_async.simulator.faults import Endpoint, Fault, FaultKind
    from clarus_async.simulator.log import LoggedRequest
    from clarus_async.simulator.quota import Quota
    from clarus_async.simulator.state import StoredRecord

__all__ = ["Endpoint", "Fault", "FaultKind", "LoggedRequest", "Quota", "Simulator", "StoredRecord"]

# Resolved on first use: pytest imports this package in every run of everyone who has it installed.
_HOMES = {
    "Endpoint": "faults",
    "Fault": "faults",
    "FaultKind": "faults",
    "LoggedRequest": "log",
    "Quota": "quota",
    "Simulator": "app",
    "StoredRecord": "state",
}


def __getattr__(name: str) -> object:
    """Import a public name from its module the first time it is asked for."""
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
