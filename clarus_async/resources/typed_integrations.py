"""The integrations of a client, with their types, their ``find``, and the operations that only they have."""

from __future__ import annotations

from typing import ClassVar, Final

from clarus_async.calls.request import DELETE, MemberOperation
from clarus_async.resources.integrations import (
    INTEGRATIONS,
    Integration,
    IntegrationChanges,
    IntegrationFilter,
    IntegrationRow,
    NewIntegration,
)
from clarus_async.resources.resource import Resource
from clarus_async.retry.effect import OperationKind

SYNCHRONIZE: Final = MemberOperation("synchronize", OperationKind.ACTION, "POST", "synchronized", "/synchronize")


class Integrations(Resource[NewIntegration, IntegrationChanges, Integration, IntegrationRow, IntegrationFilter]):
    """Creates, changes, deletes, synchronizes and lists a tenant's integrations (CLARUS_API.md §1)."""

    spec = INTEGRATIONS
    operations: ClassVar[tuple[MemberOperation, ...]] = (DELETE, SYNCHRONIZE)

    async def find(
        self, *, name: str | None = None, reference: str | None = None, provider: str | None = None
    ) -> list[IntegrationRow]:
        """Return every integration that has exactly these.

        Args:
            name: the exact name.
            reference: the first external reference, where the tenant's schema can be searched by it.
            provider: such as ``shopify``, as the list reports it.

        Raises:
            InvalidInputError: nothing is given, or a value is not a string or empty.
            ConfigurationError: the tenant's schema can't be searched by reference.
            ClarusError: it can't be read; the class says why.
        """
        return await self._find(name=name, external_system_reference1=reference, provider=provider)

    async def delete(self, id: int) -> None:  # noqa: A002
        """Delete an integration. The vendor suggests disabling it instead, which keeps its mappings.

        Args:
            id: the Clarus id.

        Raises:
            NotFoundError: there is no such integration, and it was not this call that deleted it.
            OutcomeUnknownError: it may have been deleted.
            ClarusError: nothing was deleted; the class says why.
        """
        await self._operate(DELETE, id)

    async def synchronize(self, id: int, *, repeatable: bool = False) -> None:  # noqa: A002
        """Start a synchronization. What an overlapping one does is not documented (CLARUS_API.md §1).

        Args:
            id: the Clarus id.
            repeatable: repeat an attempt whose outcome is unknown, as a second synchronization does no harm.

        Raises:
            NotFoundError: there is no such integration.
            OutcomeUnknownError: it may have been started.
            ClarusError: nothing was started; the class says why.
        """
        await self._operate(SYNCHRONIZE, id, repeatable=repeatable)
