"""What every resource of a client can do, over the declaration of the resource."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from os import PathLike
from typing import ClassVar, Final, Generic, Literal, TypeAlias, cast

from clarus_async.calls.caller import Caller
from clarus_async.calls.queries import ResourceList
from clarus_async.calls.request import Request
from clarus_async.errors import ClarusError, ConfigurationError, InvalidInputError, OutcomeUnknownError
from clarus_async.provisioning.existing import Existing
from clarus_async.provisioning.report import Outcome
from clarus_async.provisioning.run import Options, Progress, ProvisionRun
from clarus_async.reconcile.creation import Creation
from clarus_async.reconcile.lookup import searches_references
from clarus_async.reconcile.pending import Terms
from clarus_async.reconcile.single import create, create_once, resolve
from clarus_async.resources.spec import AnySpec, Changes, Filter, New, Record, Row
from clarus_async.retry.effect import Kind
from clarus_async.validation import attributes_of, number_problem
from clarus_async.wire.graphql import filter_variable
from clarus_async.wire.reading import prepare

# The class below has a method called list.
_Rows: TypeAlias = list[Row]

_LARGEST_PAGE: Final = 1000  # the server's own limit is not documented (CLARUS_API.md §4)


class Resource(Generic[New, Changes, Record, Row, Filter]):
    """Creates, changes and lists a tenant's records of one kind.

    A subclass names its declaration, and adds what the vendor does not have of every resource.
    """

    spec: ClassVar[AnySpec]

    def __init__(self, caller: Caller) -> None:
        prepare(self.spec)
        self._caller = caller
        self._creation = Creation(caller, self.spec)

    @property
    def terms(self) -> Terms:
        """The client's settings that a run keeps to."""
        return self._creation.terms

    async def create(self, new: New, *, on_unknown: Literal["reconcile", "raise"] = "reconcile") -> Record:
        """Create a record; it is never sent again blindly where it may have been created.

        Where no clear answer comes, the record is looked up: what answers for our send is returned, with the attributes
        that were sent. What is not there ``settle`` after the attempt was given up is sent again, and looked up once
        more ``settle`` after that, or shortly before the deadline where that is sooner.

        Args:
            new: what is to be.
            on_unknown: ``"raise"``: leave it to the caller to look, or to call :meth:`resolve`.

        Raises:
            OutcomeUnknownError: it may have been created, and the deadline came before that was settled; or more than
                one record answers for it: see its ``found``.
            ClarusError: nothing was created; the class says why.
        """
        refused = _wrong_type("create", new, self.spec.new)
        if refused is None and on_unknown not in ("reconcile", "raise"):
            refused = InvalidInputError('create: on_unknown must be "reconcile" or "raise"')
        if refused is not None:
            # No frame may hold what may be a mapping of secrets: an error tracker would ship it.
            del new
            raise refused
        if on_unknown == "raise":
            result = await create_once(self._caller, self._creation, new)  # type: ignore[arg-type]
        else:
            result = await create(self._caller, self._creation, new)  # type: ignore[arg-type]
        if isinstance(result, ClarusError):
            raise result
        return cast("Record", result)

    async def resolve(self, error: OutcomeUnknownError) -> Record | None:
        """Settle later what ``create`` could not: return the record, or ``None`` where it was not created.

        Args:
            error: what ``create`` raised; it may have travelled as a pickle.

        Returns:
            What the list tells of the record; what only REST tells is ``None``. ``None``: it is proved that
            nothing of it is there, so it may be sent again.

        Raises:
            InvalidInputError: the error is not one of a create.
            OutcomeUnknownError: it can't be settled yet, or more than one record answers for it.
        """
        if refused := _wrong_type("resolve", error, OutcomeUnknownError):
            raise refused
        result = await resolve(self._caller, self._creation, error)
        if isinstance(result, ClarusError):
            raise result
        return cast("Record | None", result)

    async def update(self, id: int, changes: Changes) -> Record:  # noqa: A002
        """Change a record; repeated where the outcome of an attempt is unknown, which changes nothing more.

        Args:
            id: the Clarus id.
            changes: what is to be different.

        Returns:
            What the server answered; where that does not even name the record, its id and what was changed.

        Raises:
            NotFoundError: there is no such record.
            OutcomeUnknownError: it may have been changed.
            ClarusError: nothing was changed; the class says why.
        """
        if refused := _wrong_type("update", changes, self.spec.changes):
            # It may be a mapping of secrets, and error trackers ship the frame that raises.
            del changes
            raise refused
        _check_id(id)
        patched = await self._creation.update(id, changes)  # type: ignore[arg-type]
        if isinstance(patched, ClarusError):
            raise patched
        return cast("Record", patched.integration)

    async def _delete(self, record_id: int) -> None:
        path = self._path(record_id)
        request = Request(operation="delete", kind=Kind.DELETE, method="DELETE", path=path, template=self.spec.member)
        await self._caller.run(request)

    def list(self, filter: Filter | None = None, *, page_size: int = 100) -> ResourceList[Row]:  # noqa: A002
        """List records, a page at a time as they are read.

        A row is read as far as it can be: a field that is null or odd is ``None``. What has no id can't be told from
        others, and is left out with a warning in the log.

        Args:
            filter: which; all where there is none.
            page_size: rows that a request asks for, 1 to 1,000; the server may give fewer. Where it refuses what so
                many cost, fewer are asked for.

        Raises:
            InvalidInputError: the filter is of another class, or the page size is out of range.
        """
        listing = self.spec.listing
        if filter is not None and (refused := _wrong_type("list", filter, listing.filter)):
            raise refused
        if number_problem(page_size) is not None or not 1 <= page_size <= _LARGEST_PAGE:
            raise InvalidInputError(f"page_size: must be an integer from 1 to {_LARGEST_PAGE}")
        wanted = {} if filter is None else filter_variable(listing, filter)
        return ResourceList(self._caller, listing, wanted, page_size)

    async def _find(self, **wanted: object) -> _Rows[Row]:
        """Return every record that has exactly these attributes; ``None`` is any.

        Raises:
            InvalidInputError: nothing is given, or a value can't be one of a record.
            ConfigurationError: the tenant's schema can't be searched by one of the natural keys.
            ClarusError: it can't be read; the class says why.
        """
        spec, operators, optional = self.spec, {}, False
        attributes = attributes_of(spec.new)
        for name, value in wanted.items():
            if value is not None:
                if (problem := attributes[name].metadata["check"](value)) is not None:
                    raise InvalidInputError(f"find: {name} {problem}")
                operators[spec.listing.named(name)] = {"eq": value}
        if not operators:
            raise InvalidInputError("find: at least one attribute must be given")
        for key in spec.keys:
            if not key.searchable and wanted.get(key.field) is not None:
                if not await self.searches_references():
                    raise ConfigurationError(
                        f"find: this tenant's schema can't be searched by {key.called};"
                        f" find by {spec.keys[-1].called} instead"
                    )
                optional = True
        return [row async for row in ResourceList(self._caller, spec.listing, operators, optional=optional)]

    async def searches_references(self) -> bool:
        """Whether records can be found by reference in this tenant; else they are found by name only.

        Raises:
            ClarusError: the tenant's schema can't be had.
        """
        return await searches_references(self._caller)

    def trust_references(self) -> None:
        """Take it for known that records can be found by reference, where another client of the tenant has found so."""
        shared = self._caller.shared
        shared.bind()
        shared.tenant(self._caller.subdomain).searchable = True

    def provision(
        self,
        specs: Iterable[New] | AsyncIterable[New],
        *,
        concurrency: int = 64,
        journal: str | PathLike[str] | None = None,
        existing: Existing = "adopt",
        dry_run: bool = False,
        max_failures: int | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> ProvisionRun:
        """Create many records; iterate over what is returned for an outcome a record.

        A failing record never stops the others. What would fail every record stops the intake, and is raised when what
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
        return ProvisionRun(self._creation, specs, options)  # type: ignore[arg-type]

    def review(self, journal: str | PathLike[str]) -> AsyncGenerator[Outcome]:
        """Ask the server once more about every record of a run that was ever in doubt; iterate for an outcome of each.

        What came later than ``settle`` is found so, and what is found is written into the journal.

        Args:
            journal: that of the run.

        Raises:
            JournalError: it is not there, in use, damaged, or another tenant's.
            ClarusError: the server can't be asked.
        """
        from clarus_async.provisioning.review import look_again  # noqa: PLC0415  only who asks for it pays for SQLite

        return look_again(self._creation, journal)

    def _path(self, record_id: int, action: str = "") -> str:
        _check_id(record_id)
        # As a plain number: an enum's member would stand there by its name.
        return f"{self.spec.path}/{int(record_id)}{action}"


def _wrong_type(what: str, value: object, kind: type) -> InvalidInputError | None:
    if isinstance(value, kind):
        return None
    return InvalidInputError(f"{what}: takes {kind.__name__}, not {type(value).__name__}")


def _check_id(value: int) -> None:
    if number_problem(value) is not None or value < 0:
        raise InvalidInputError(f"id: must be a non-negative integer, not {type(value).__name__}")
