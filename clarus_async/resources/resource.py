"""The resource: ``client.integrations`` (CLARUS_API.md §1)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from os import PathLike
from typing import Any, Final, Literal, TypeAlias

from clarus_async.calls.caller import Caller
from clarus_async.calls.queries import IntegrationList
from clarus_async.calls.request import Request
from clarus_async.errors import ClarusError, ConfigurationError, InvalidInputError, OutcomeUnknownError
from clarus_async.provisioning.existing import Existing
from clarus_async.provisioning.report import Outcome
from clarus_async.provisioning.run import Options, Progress, ProvisionRun
from clarus_async.reconcile.reconciler import Reconciler, Terms
from clarus_async.reconcile.single import create, create_once, resolve
from clarus_async.resources.integrations import (
    INTEGRATIONS,
    Integration,
    IntegrationChanges,
    IntegrationFilter,
    IntegrationRow,
    NewIntegration,
)
from clarus_async.retry.effect import Kind
from clarus_async.validation import number_problem, text_problem
from clarus_async.wire.graphql import REFERENCE, filter_variable

# The class below has a method called list.
_Rows: TypeAlias = list[IntegrationRow]

_LARGEST_PAGE: Final = 1000  # the server's own limit is not documented (CLARUS_API.md §4)


class Integrations:
    """Creates, changes, deletes, synchronizes and lists a tenant's integrations.

    Args:
        caller: makes the calls.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._reconciler = Reconciler(caller, INTEGRATIONS)

    @property
    def terms(self) -> Terms:
        """The client's settings that a run keeps to."""
        return self._reconciler.terms

    async def create(
        self, new: NewIntegration, *, on_unknown: Literal["reconcile", "raise"] = "reconcile"
    ) -> Integration:
        """Create an integration; it is never sent again blindly where it may have been created.

        Where no clear answer comes, the record is looked up: what answers for our send is returned, with the attributes
        that were sent. What is not there ``settle`` after the attempt was given up is sent again, and looked up once
        more ``settle`` after that, or shortly before the deadline where that is sooner.

        Args:
            new: what is to be.
            on_unknown: ``"raise"``: leave it to the caller to look it up, or to call :meth:`resolve`.

        Raises:
            OutcomeUnknownError: it may have been created, and the deadline came before that was settled; or more than
                one record answers for it: see its ``found``.
            ClarusError: nothing was created; the class says why.
        """
        refused = _wrong_type("create", new, NewIntegration)
        if refused is None and on_unknown not in ("reconcile", "raise"):
            refused = InvalidInputError('create: on_unknown must be "reconcile" or "raise"')
        if refused is not None:
            # No frame may hold what may be a mapping of secrets: an error tracker would ship it.
            del new
            raise refused
        if on_unknown == "raise":
            result = await create_once(self._reconciler, new)
        else:
            result = await create(self._caller, self._reconciler, new)
        if isinstance(result, ClarusError):
            raise result
        created: Integration = result
        return created

    async def resolve(self, error: OutcomeUnknownError) -> Integration | None:
        """Settle later what ``create`` could not: return the integration, or ``None`` where it was not created.

        Args:
            error: what ``create`` raised; it may have travelled as a pickle.

        Returns:
            What the list tells of the integration; what only REST tells is ``None``. ``None``: it is proved that
            nothing of it is there, so it may be sent again.

        Raises:
            InvalidInputError: the error is not one of a create.
            OutcomeUnknownError: it can't be settled yet, or more than one record answers for it.
        """
        if refused := _wrong_type("resolve", error, OutcomeUnknownError):
            raise refused
        result = await resolve(self._caller, self._reconciler, error)
        if isinstance(result, ClarusError):
            raise result
        settled: Integration | None = result
        return settled

    async def update(self, integration_id: int, changes: IntegrationChanges) -> Integration:
        """Change an integration; repeated where the outcome of an attempt is unknown, which changes nothing more.

        Args:
            integration_id: the Clarus id.
            changes: what is to be different.

        Returns:
            What the server answered; where that does not even name the integration, its id and what was changed.

        Raises:
            NotFoundError: there is no such integration.
            OutcomeUnknownError: it may have been changed.
            ClarusError: nothing was changed; the class says why.
        """
        if refused := _wrong_type("update", changes, IntegrationChanges):
            # It may be a mapping of secrets, and error trackers ship the frame that raises.
            del changes
            raise refused
        _member(integration_id)
        changed = await self._reconciler.update(integration_id, changes)
        if isinstance(changed, ClarusError):
            raise changed
        record: Integration = changed.record
        return record

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
            Request(
                operation="delete", kind=Kind.DELETE, method="DELETE", path=path, template=INTEGRATIONS.path + "/{id}"
            )
        )

    async def synchronize(self, integration_id: int, *, repeatable: bool = False) -> None:
        """Start a synchronization. What an overlapping one does is not documented (CLARUS_API.md §1).

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
            template=INTEGRATIONS.path + "/{id}/synchronize",
            repeatable=repeatable,
        )
        await self._caller.run(request)

    def list(self, filter: IntegrationFilter | None = None, *, page_size: int = 100) -> IntegrationList:  # noqa: A002
        """List integrations, a page at a time as they are read.

        A row is read as far as it can be: a field that is null or odd is ``None``. What has no id can't be told from
        others, and is left out with a warning in the log.

        Args:
            filter: which; all where there is none.
            page_size: rows that a request asks for, 1 to 1,000; the server may give fewer. Where it refuses what so
                many cost, fewer are asked for.

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
        if reference is not None and not await self.searches_references():
            raise ConfigurationError("find: this tenant's schema can't be searched by reference; find by name instead")
        return [row async for row in IntegrationList(self._caller, wanted, with_reference=reference is not None)]

    async def searches_references(self) -> bool:
        """Whether records can be found by reference in this tenant; else they are found by name only.

        Raises:
            ClarusError: the tenant's schema can't be had.
        """
        return await self._reconciler.searches_optional_keys()

    def trust_references(self) -> None:
        """Take it for known that records can be found by reference, where another client of the tenant has found so."""
        self._reconciler.trust_optional_keys()

    def provision(
        self,
        specs: Iterable[NewIntegration] | AsyncIterable[NewIntegration],
        *,
        concurrency: int = 64,
        journal: str | PathLike[str] | None = None,
        existing: Existing = "adopt",
        dry_run: bool = False,
        max_failures: int | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> ProvisionRun:
        """Create many integrations; iterate over what is returned for an outcome a record.

        A failing record never stops the others. What would fail every record ends the run, and is raised when what
        was in flight has ended; a tenant whose pace has a record wait for longer than ``max_wait`` is such a thing. A
        call's deadline does not run while it waits for its turn. A record in doubt is looked up until it is settled,
        which takes ``settle`` and more; the others go on meanwhile.

        Args:
            specs: the records, an iterable or an async iterable, pulled only as fast as it is served.
            concurrency: how many are sent at once, 1 to 10,000.
            journal: a file that makes the run resumable: the same input with the same journal again does what is left
                to do, also after a ``kill -9``. What it holds of a record counts as long as the record and
                ``existing`` are the same. It belongs to one tenant, and is made where there is none.
            existing: what to do with a record that is there already: ``"adopt"`` it, and say in ``differs`` which
                attributes it is known not to have as they are given; ``"update"`` it with what PATCH
                can change; ``"fail"``; or ``"ignore"`` it: send without looking.
            dry_run: say what would happen, and send nothing that writes. What would be created is ``created``, without
                an id.
            max_failures: when more records than these are ``failed`` or ``conflict``, begin no further one, let what is
                in flight end, and raise :class:`ClarusError`.
            on_progress: called with each outcome, on the event loop, so it must be quick. What it raises is logged, not
                raised.

        Raises:
            InvalidInputError: an option is out of range, or the input can't be iterated.
        """
        options = Options(concurrency, journal, existing, dry_run, max_failures, on_progress)
        return ProvisionRun(self._reconciler, specs, options)

    def review(self, journal: str | PathLike[str]) -> AsyncGenerator[Outcome]:
        """Ask the server once more about every record of a run that was ever in doubt; iterate for an outcome of each.

        What came later than ``settle`` is found so, and what is found is written into the journal.

        Args:
            journal: that of the run.

        Raises:
            JournalError: it is not there, in use, damaged, or another tenant's.
            ClarusError: the server can't be asked.
        """
        from clarus_async.provisioning.review import review_journal  # noqa: PLC0415  only who asks for it pays for SQLite

        return review_journal(self._reconciler, journal)


def _wrong_type(what: str, value: object, kind: type) -> InvalidInputError | None:
    if isinstance(value, kind):
        return None
    return InvalidInputError(f"{what}: takes {kind.__name__}, not {type(value).__name__}")


def _member(integration_id: int) -> str:
    if number_problem(integration_id) is not None or integration_id < 0:
        raise InvalidInputError(f"integration id: must be a non-negative integer, not {type(integration_id).__name__}")
    # As a plain number: an enum's member would stand there by its name.
    return f"{INTEGRATIONS.path}/{int(integration_id)}"
