"""What every resource of a client can do, driven by its ``ResourceSpec``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from os import PathLike
from typing import Any, ClassVar, Final, Generic, Literal, TypeAlias

from clarus_async.calls.caller import Caller
from clarus_async.calls.queries import ResourceList
from clarus_async.calls.request import DELETE, MemberOperation
from clarus_async.errors import ClarusError, ConfigurationError, InvalidInputError, OutcomeUnknownError
from clarus_async.provisioning.options import Existing, Options, Progress
from clarus_async.provisioning.report import Outcome
from clarus_async.provisioning.run import ProvisionRun
from clarus_async.reconcile.reconciler import Reconciler, Terms
from clarus_async.reconcile.single import create, create_once, resolve
from clarus_async.resources.spec import AnySpec, Changes, Filter, New, Record, Row
from clarus_async.validation import attributes_of, number_problem
from clarus_async.wire.graphql import filter_variable
from clarus_async.wire.reading import prepare

# The class below has a method called list.
_Rows: TypeAlias = list[Row]

_LARGEST_PAGE: Final = 1000  # the server's own limit is not documented (CLARUS_API.md §4)


class Resource(Generic[New, Changes, Record, Row, Filter]):
    """Creates, changes and lists the records of one resource in a tenant.

    A subclass names the spec, and adds the operations that the vendor does not have for every resource.
    """

    spec: ClassVar[AnySpec]
    operations: ClassVar[tuple[MemberOperation, ...]] = ()
    """What the API can do to one record besides changing it."""

    def __init__(self, caller: Caller) -> None:
        prepare(self.spec)
        self._caller = caller
        self._reconciler = Reconciler(caller, self.spec)

    @property
    def terms(self) -> Terms:
        """The client's settings that a run keeps to."""
        return self._reconciler.terms

    async def create(self, new: New, *, on_unknown: Literal["reconcile", "raise"] = "reconcile") -> Record:
        """Create a record. It is never sent again blindly where it may have been created.

        Without a clear answer, the record is looked up. The one that was created by our request is returned, with the
        attributes that were sent. If it is not there ``settle`` seconds after the attempt was given up, it is sent
        again, and looked up once more ``settle`` seconds later, or shortly before the deadline where that is sooner.

        Args:
            new: the record to create.
            on_unknown: ``"raise"`` leaves it to the caller to look the record up, or to call ``resolve``.

        Raises:
            OutcomeUnknownError: it may have been created, and the deadline passed before that was certain; or more than
                one record may be it: see its ``found``.
            ClarusError: nothing was created; the class says why.
        """
        refused = _wrong_type("create", new, self.spec.new)
        if refused is None and on_unknown not in ("reconcile", "raise"):
            refused = InvalidInputError('create: on_unknown must be "reconcile" or "raise"')
        if refused is not None:
            # It may be a mapping of secrets, and error trackers collect the local variables of every frame.
            del new
            raise refused
        if on_unknown == "raise":
            result = await create_once(self._reconciler, new)
        else:
            result = await create(self._caller, self._reconciler, new)
        if isinstance(result, ClarusError):
            raise result
        created: Record = result
        return created

    async def resolve(self, error: OutcomeUnknownError) -> Record | None:
        """Find out later what ``create`` could not: return the record, or ``None`` if it was not created.

        Args:
            error: raised by ``create``; it may have been pickled since.

        Returns:
            The record with the attributes that the list has; the others are ``None``. ``None`` instead of a record: it
            is proved not to be there, so it may be sent again.

        Raises:
            InvalidInputError: the error was not raised by ``create``.
            OutcomeUnknownError: it is still not certain, or more than one record may be it.
        """
        if refused := _wrong_type("resolve", error, OutcomeUnknownError):
            raise refused
        result = await resolve(self._caller, self._reconciler, error)
        if isinstance(result, ClarusError):
            raise result
        settled: Record | None = result
        return settled

    async def update(self, id: int, changes: Changes) -> Record:  # noqa: A002
        """Change a record. An attempt whose outcome is unknown is repeated, which does no harm.

        Args:
            id: the Clarus id.
            changes: the attributes to change.

        Returns:
            The record as the server answered it; if the answer does not even name it, its id and the changes.

        Raises:
            NotFoundError: there is no such record.
            OutcomeUnknownError: it may have been changed.
            ClarusError: nothing was changed; the class says why.
        """
        if refused := _wrong_type("update", changes, self.spec.changes):
            # As in create.
            del changes
            raise refused
        _check_id(id)
        changed = await self._reconciler.update(id, changes)
        if isinstance(changed, ClarusError):
            raise changed
        record: Record = changed.record
        return record

    async def _operate(self, operation: MemberOperation, record_id: int, *, repeatable: bool = False) -> None:
        _check_id(record_id)
        await self._caller.run(self._reconciler.request(operation, record_id, repeatable=repeatable))

    def list(self, filter: Filter | None = None, *, page_size: int = 100) -> ResourceList[Row]:  # noqa: A002
        """List records; pages are requested as the rows are read.

        A field of a row that is null or not as expected is ``None``. A row without a readable id is left out, and
        logged as a warning.

        Args:
            filter: which records; all by default.
            page_size: rows to ask for at once, 1 to 1,000; the server may return fewer. If it refuses the query for its
                cost, fewer are asked for.

        Raises:
            InvalidInputError: the filter is not one of this resource, or the page size is out of range.
        """
        listing = self.spec.listing
        if filter is not None and (refused := _wrong_type("list", filter, listing.filter)):
            raise refused
        if number_problem(page_size) is not None or not 1 <= page_size <= _LARGEST_PAGE:
            raise InvalidInputError(f"page_size: must be an integer from 1 to {_LARGEST_PAGE}")
        wanted = {} if filter is None else filter_variable(listing, filter)
        return ResourceList(self._caller, listing, wanted, page_size)

    async def _find(self, **wanted: object) -> _Rows[Row]:
        """Return every record that has exactly these attributes; ``None`` matches any.

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
            ClarusError: the tenant's schema can't be read.
        """
        return await self._reconciler.searches_optional_keys()

    def trust_references(self) -> None:
        """Take it as known that records can be found by reference, where another client of the tenant has found so."""
        self._reconciler.trust_optional_keys()

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
        """Create many records; iterate over the run for the outcome of each, or await it for the report.

        A record that fails never stops the others. An error that would fail every record stops the run: no further
        record is begun, and it is raised when those in flight have ended. A rate limit that would have a record wait
        longer than ``max_wait`` is such an error. A call's deadline does not run while it waits for the rate limiter. A
        record in doubt is looked up until it is certain, which takes ``settle`` seconds and more; the others go on
        meanwhile.

        Args:
            specs: the records, an iterable or an async iterable, which is read only as fast as they are sent.
            concurrency: how many are sent at once, 1 to 10,000.
            journal: a file that makes the run resumable: the same input with the same journal again does what is left
                to do, also after a ``kill -9``. An outcome in it counts as long as the record and ``existing`` are the
                same. It belongs to one tenant, and is created if it does not exist.
            existing: what to do with a record that is there already: ``"adopt"`` it, and name in ``differs`` the
                attributes that are known to differ from the input; ``"update"`` it with what PATCH can change;
                ``"fail"``; or ``"ignore"`` it: send without looking it up.
            dry_run: say what would be (``would_create``, ``would_update``, and in ``changes`` what of it), and send no
                write.
            max_failures: when more records than these are ``failed`` or ``conflict``, begin no further one, let those
                in flight end, and raise ``ClarusError``.
            on_progress: called with each outcome, on the event loop, so it must be quick. An exception from it is
                logged, not raised.

        Raises:
            InvalidInputError: an option is out of range, or the input can't be iterated.
        """
        options = Options(concurrency, journal, existing, dry_run, max_failures, on_progress)
        return ProvisionRun(self._reconciler, specs, options)

    def review(self, journal: str | PathLike[str]) -> AsyncGenerator[Outcome]:
        """Look up once more every record of a run that was ever in doubt; iterate for the outcome of each.

        This finds what the server applied later than ``settle``; the outcomes are written to the journal.

        Args:
            journal: the journal of the run.

        Raises:
            JournalError: it does not exist, is in use, damaged, or belongs to another tenant.
            ClarusError: the server can't be asked.
        """
        from clarus_async.provisioning.review import review_journal  # noqa: PLC0415  only who asks for it pays for SQLite

        return review_journal(self._reconciler, journal)

    def bulk(
        self, operation: str, records: Iterable[object] | AsyncIterable[object], options: Options | None = None
    ) -> ProvisionRun:
        """Do one operation to many records, as the command line does: @private.

        Args:
            operation: ``"update"``, or the name of one that the API has for this resource, such as ``"delete"``.
            records: each has an ``id``, and ``changes`` for an update.
            options: how; ``existing`` does not matter.

        Raises:
            ConfigurationError: the API has no such operation for the resource.
            InvalidInputError: an option is out of range.
        """
        from clarus_async.provisioning.bulk import BulkJob, BulkRun  # noqa: PLC0415  as in review

        options = options or Options()
        options.check()
        found = None if operation == "update" else self._operation(operation)
        return BulkRun(BulkJob(self._reconciler, found, options.journal), records, options)

    def undo(self, journal: str | PathLike[str], *, delete: bool = False) -> Any:  # noqa: ANN401  importing its type takes a while
        """Disable or delete what a run created, as the command line does: @private.

        Args:
            journal: the journal of the run.
            delete: delete it, which takes its mappings along.

        Returns:
            An ``Undo`` of ``clarus_async.provisioning.undo``.

        Raises:
            ConfigurationError: the API has no way to do that to records of the resource.
        """
        from clarus_async.provisioning.undo import Undo  # noqa: PLC0415  as in review

        ways = {"disable": "is_active" in attributes_of(self.spec.changes), "delete": DELETE in self.operations}
        if not ways["delete" if delete else "disable"]:
            missing = " or ".join(way for way, there in ways.items() if not there)
            raise ConfigurationError(f"undo: the API has no way to {missing} {self.spec.name.replace('_', ' ')}")
        return Undo(self._reconciler, journal, delete=delete)

    def _operation(self, name: str) -> MemberOperation:
        for operation in self.operations:
            if operation.name == name:
                return operation
        raise ConfigurationError(f"{name}: the API has no such operation for {self.spec.name}")


def _wrong_type(what: str, value: object, kind: type) -> InvalidInputError | None:
    if isinstance(value, kind):
        return None
    return InvalidInputError(f"{what}: takes {kind.__name__}, not {type(value).__name__}")


def _check_id(value: int) -> None:
    if number_problem(value) is not None or value < 0:
        raise InvalidInputError(f"id: must be a non-negative integer, not {type(value).__name__}")
