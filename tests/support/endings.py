"""What each public call ends with when an answer is spoilt, and whether that is true."""

from __future__ import annotations

import attrs

from clarus_async import (
    Applied,
    ClarusError,
    ConfigurationError,
    ConnectionFailedError,
    NewIntegration,
    OutcomeUnknownError,
    ResponseError,
)

NEW = NewIntegration(name="new", integration_type="shopify", external_system_reference1="new-1")


@attrs.frozen
class Ends:
    """What each call ends with, ``None`` for well, and what is said of it."""

    create: type[ClarusError] | None = None
    delete: type[ClarusError] | None = None
    read: type[ClarusError] | None = None
    created: Applied = Applied.NO
    deleted: Applied = Applied.MAYBE
    match: str = ""

    def hold(self, operation: str, result: object) -> None:
        """Check what a call returned or raised."""
        expected = self.read if operation in {"list", "ping"} else getattr(self, operation)
        assert (type(result) if isinstance(result, ClarusError) else None) is expected, (operation, result)
        if isinstance(result, ClarusError):
            applied = {"create": self.created, "delete": self.deleted}.get(operation, Applied.NO)
            assert (result.applied, result.attempts) == (applied, 1), (operation, result)
            assert self.match in str(result), (operation, result)
            assert len(str(result)) < 2000
            assert str(result).isprintable()


WELL = Ends()
LOST = Ends(
    OutcomeUnknownError, OutcomeUnknownError, ConnectionFailedError, Applied.MAYBE, match="the connection was lost"
)
LATE = attrs.evolve(LOST, match="no response came in time")
# A 204 has no body that could be spoilt.
CUT = Ends(OutcomeUnknownError, None, ResponseError, Applied.YES, match="its body was cut short")
UNREADABLE = attrs.evolve(CUT, match="it can't be read")
REDIRECTED = Ends(ConfigurationError, ConfigurationError, ConfigurationError, deleted=Applied.NO, match="redirects")


async def read_all(clarus, _):
    return [row async for row in clarus.integrations.list()]


CALLS = {
    "create": lambda clarus, _: clarus.integrations.create(NEW, on_unknown="raise"),
    "list": read_all,
    "delete": lambda clarus, record: clarus.integrations.delete(record),
    "ping": lambda clarus, _: clarus.ping(),
}


async def ended(call):
    """Return what a call raised or returned; any error but ours is none that it may end with."""
    try:
        return await call
    except ClarusError as error:
        return error
