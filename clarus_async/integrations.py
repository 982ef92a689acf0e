"""The resource: ``client.integrations`` (clarus-api.md §1)."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable
from typing import Any, Final, TypeAlias

from clarus_async.checks import number_problem, text_problem
from clarus_async.errors import ConfigurationError, InvalidInputError
from clarus_async.policy.deadline import Deadline
from clarus_async.policy.outcome import Kind
from clarus_async.provisioning.run import Created, Progress, ProvisionRun
from clarus_async.queries import IntegrationList, is_absent, searches_references
from clarus_async.records import Integration, IntegrationChanges, IntegrationFilter, IntegrationRow, NewIntegration
from clarus_async.transport.call import Caller
from clarus_async.transport.request import Request
from clarus_async.wire.envelope import changes_body, create_body, read_integration
from clarus_async.wire.faults import secrets_in
from clarus_async.wire.graphql import REFERENCE, filter_variable

# The class below has a method called list.
_Rows: TypeAlias = list[IntegrationRow]

_COLLECTION: Final = "/api/integrations"
_MEMBER: Final = "/api/integrations/{id}"
_LARGEST_PAGE: Final = 1000  # the server's own limit is not documented (clarus-api.md §4)


class Integrations:
    """Creates, changes, deletes, synchronizes and lists a tenant's integrations.

    Args:
        caller: makes the calls.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def create(self, new: NewIntegration) -> Integration:
        """Create an integration; it is never sent again where it may have been created.

        Args:
            new: what is to be.

        Raises:
            OutcomeUnknownError: it may have been created, and nothing that came back proves it either way.
            ClarusError: nothing was created; the class says why.
        """
        request = self._create_request(new)
        # From here on, no frame holds what may be a mapping of secrets: an error tracker would ship it.
        del new
        if isinstance(request, InvalidInputError):
            raise request
        integration: Integration = (await self._caller.run(request)).value
        return integration

    def _create_request(self, new: NewIntegration, *, patient: bool = False) -> Request | InvalidInputError:
        if refused := _wrong_type("create", new, NewIntegration):
            return refused

        async def look(deadline: Deadline) -> bool | None:
            return await is_absent(self._caller, new, deadline)

        return Request(
            operation="create",
            kind=Kind.CREATE,
            method="POST",
            path=_COLLECTION,
            template=_COLLECTION,
            body=create_body(new),
            read=read_integration,
            key=new.key,
            idempotency_key=self._caller.shared.new_key(),
            secrets=lambda: secrets_in(new.configuration),
            look=look,
            patient=patient,
        )

    async def create_one(self, new: NewIntegration) -> Created:
        """Create an integration for a run, and say what it took; its wait for its turn is not held against it.

        Args:
            new: what is to be.

        Raises:
            ClarusError: as :meth:`create` does.
        """
        request = self._create_request(new, patient=True)
        if isinstance(request, InvalidInputError):
            raise request
        call = await self._caller.run(request)
        return Created(call.value.id, call.attempts)

    async def update(self, integration_id: int, changes: IntegrationChanges) -> Integration:
        """Change an integration; repeated where the outcome of an attempt is unknown, which changes nothing more.

        Args:
            integration_id: the Clarus id.
            changes: what is to be different.

        Raises:
            NotFoundError: there is no such integration.
            OutcomeUnknownError: it may have been changed.
            ClarusError: nothing was changed; the class says why.
        """
        if refused := _wrong_type("update", changes, IntegrationChanges):
            # It may be a mapping of secrets, and error trackers ship the frame that raises.
            del changes
            raise refused
        request = Request(
            operation="update",
            kind=Kind.UPDATE,
            method="PATCH",
            path=_member(integration_id),
            template=_MEMBER,
            body=changes_body(integration_id, changes),
            read=read_integration,
            secrets=lambda: secrets_in(changes.configuration),
        )
        integration: Integration = (await self._caller.run(request)).value
        return integration

    async def delete(self, integration_id: int) -> None:
        """Delete an integration. The vendor suggests disabling it instead, which keeps its mappings.

        Args:
            integration_id: the Clarus id.

        Raises:
            NotFoundError: there is no such integration, and it was not this call that deleted it.
            OutcomeUnknownError: it may have been deleted.
            ClarusError: nothing was deleted; the class says why.
        """
        path = _member(integration_id)
        await self._caller.run(
            Request(operation="delete", kind=Kind.DELETE, method="DELETE", path=path, template=_MEMBER)
        )

    async def synchronize(self, integration_id: int, *, repeatable: bool = False) -> None:
        """Start a synchronization. What an overlapping one does is not documented (clarus-api.md §1).

        Args:
            integration_id: the Clarus id.
            repeatable: a second one does no harm, so send it again where the outcome of the first is unknown.

        Raises:
            NotFoundError: there is no such integration.
            OutcomeUnknownError: it may have been started.
            ClarusError: nothing was started; the class says why.
        """
        request = Request(
            operation="synchronize",
            kind=Kind.ACTION,
            method="POST",
            path=_member(integration_id) + "/synchronize",
            template=_MEMBER + "/synchronize",
            repeatable=repeatable,
        )
        await self._caller.run(request)

    def list(self, filter: IntegrationFilter | None = None, *, page_size: int = 100) -> IntegrationList:  # noqa: A002
        """List integrations, a page at a time as they are read.

        Args:
            filter: which; all where there is none.
            page_size: rows that a request asks for, 1 to 1,000; the server may give fewer.

        Raises:
            InvalidInputError: the filter is none, or the page size is out of range.
        """
        if filter is not None and not isinstance(filter, IntegrationFilter):
            raise InvalidInputError(f"list: takes an IntegrationFilter, not {type(filter).__name__}")
        if number_problem(page_size) is not None or not 1 <= page_size <= _LARGEST_PAGE:
            raise InvalidInputError(f"page_size: must be an integer from 1 to {_LARGEST_PAGE}")
        wanted = {} if filter is None else filter_variable(filter)
        return IntegrationList(self._caller, wanted, page_size)

    async def find(
        self, *, name: str | None = None, reference: str | None = None, provider: str | None = None
    ) -> _Rows:
        """Return every integration that has exactly these.

        Args:
            name: the exact name.
            reference: the first external reference, where the tenant's schema can be searched by it.
            provider: such as ``shopify``, as the list reports it.

        Raises:
            InvalidInputError: nothing is given, or a value is no string or empty.
            ConfigurationError: the tenant's schema can't be searched by reference.
            ClarusError: it can't be read; the class says why.
        """
        wanted: dict[str, Any] = {}
        for field, value in (("name", name), (REFERENCE, reference), ("integration_provider", provider)):
            if value is not None:
                if (problem := text_problem(value)) is not None:
                    raise InvalidInputError(f"find: {field} {problem}")
                wanted[field] = {"eq": value}
        if not wanted:
            raise InvalidInputError("find: at least one of name, reference and provider must be given")
        if reference is not None and not await searches_references(self._caller):
            raise ConfigurationError("find: this tenant's schema can't be searched by reference; find by name instead")
        return [row async for row in IntegrationList(self._caller, wanted, with_reference=reference is not None)]

    def provision(
        self,
        specs: Iterable[NewIntegration] | AsyncIterable[NewIntegration],
        *,
        concurrency: int = 64,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> ProvisionRun:
        """Create many integrations; iterate over what is returned for an outcome a record.

        A failing record never stops the others. What would fail every record stops the intake, and is raised when what
        was in flight has ended; a tenant whose pace has a record wait for longer than ``max_wait`` is such a thing. A
        call's deadline starts when its record is taken from the input, and does not run while it waits for its turn.

        Args:
            specs: the records, an iterable or an async iterable, pulled only as fast as it is served.
            concurrency: how many are worked on at once, 1 to 10,000.
            on_progress: called after each outcome.

        Raises:
            InvalidInputError: ``concurrency`` is out of range, or the input can't be iterated.
        """
        max_wait = self._caller.shared.pacing.max_wait
        return ProvisionRun(self, specs, concurrency=concurrency, on_progress=on_progress, max_wait=max_wait)


def _wrong_type(what: str, value: object, kind: type) -> InvalidInputError | None:
    if isinstance(value, kind):
        return None
    return InvalidInputError(f"{what}: takes {kind.__name__}, not {type(value).__name__}")


def _member(integration_id: int) -> str:
    if number_problem(integration_id) is not None or integration_id < 0:
        raise InvalidInputError(f"integration id: must be a non-negative integer, not {type(integration_id).__name__}")
    return f"{_COLLECTION}/{integration_id}"
