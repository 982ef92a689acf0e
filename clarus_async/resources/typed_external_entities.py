"""The external entities of a client, with their types and their ``find``."""

from __future__ import annotations

from clarus_async.resources.external_entities import (
    EXTERNAL_ENTITIES,
    ExternalEntity,
    ExternalEntityChanges,
    ExternalEntityFilter,
    ExternalEntityRow,
    NewExternalEntity,
)
from clarus_async.resources.resource import Resource


class ExternalEntities(
    Resource[NewExternalEntity, ExternalEntityChanges, ExternalEntity, ExternalEntityRow, ExternalEntityFilter]
):
    """Creates, changes and lists a tenant's external entities (CLARUS_API.md §5)."""

    spec = EXTERNAL_ENTITIES

    async def find(
        self,
        *,
        reference: str | None = None,
        entity_type: str | None = None,
        integration_id: int | None = None,
        code: str | None = None,
    ) -> list[ExternalEntityRow]:
        """Return every external entity that has exactly these.

        Args:
            reference: the first external reference: the store's own id.
            entity_type: such as ``product``.
            integration_id: the Clarus id of the store's integration.
            code: what the store calls it.

        Raises:
            InvalidInputError: nothing is given, or a value has the wrong type or is empty.
            ClarusError: it can't be read; the class says why.
        """
        return await self._find(
            external_system_reference1=reference, entity_type=entity_type, integration_id=integration_id, code=code
        )
