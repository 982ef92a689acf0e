"""A record of a run's input, and the outcomes that it can come to."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from clarus_async.errors import Applied, ClarusError, ConnectionFailedError, OutcomeUnknownError, with_facts
from clarus_async.provisioning.existing import Comparison, Plan, creation_of, unchangeable, unpatchable, update_of
from clarus_async.provisioning.report import PLANNED, FieldChange, Outcome, OutcomeStatus, Problem
from clarus_async.reconcile.decide import Conclusion, Fate
from clarus_async.reconcile.pending import InDoubt, LookupKey, PendingCreate
from clarus_async.reconcile.reconciler import Creation
from clarus_async.resources.spec import AnySpec
from clarus_async.retry.call_error import not_there


class WorkState(StrEnum):
    """Where a record is in its run."""

    PLANNED = "planned"  # not begun
    SENDING = "sending"  # with a worker
    IN_DOUBT = "in doubt"  # being settled
    RESENDING = "resending"  # being settled, and with a worker once more
    ENDED = "ended"


class Fingerprint(NamedTuple):
    """What tells whether a record has changed between two runs, where there is a journal."""

    hash: str | None = None  # of all of it
    digests: Mapping[str, str] = MappingProxyType({})  # of each attribute that is given


_NOTHING_KNOWN: Final = Comparison()


class WorkItem:
    """A record that a run works on.

    Args:
        spec: of what.
        index: its place in the input.
        number: its number in the journal; 0 where there is no journal.
        fingerprint: of what is to be sent.
        lookup_key: what it is looked up by.
        creation: what is sent, and what became of it so far.
    """

    # Defaults stand here, so that a record costs what it comes to.
    state: WorkState = WorkState.PLANNED
    update_id: int | None = None  # of the record that is to be changed, where it is there already
    resent: asyncio.Future[None] | None = None  # is told when another send of it has ended
    journaled: bool = False  # the journal says how it is sent
    own_id: int | None = None  # the id that an earlier run knew it to have
    left_as: str | None = None  # the value of its last natural key under which an earlier run left it in doubt
    ours: bool = False  # a send of this job made what is there
    edited: bool = False  # it is known not to be what it was when an earlier run met it
    # Digests of what the server was given last of each attribute; `None` where nobody knows.
    given: Mapping[str, str] | None = None
    names: Sequence[str] = ()  # other values of its last natural key that what is there may have
    others: Collection[int] = ()  # ids of further records that an earlier run knew of
    there: Comparison = _NOTHING_KNOWN  # what is given, next to what is there

    def __init__(
        self,
        spec: AnySpec,
        index: int,
        number: int,
        fingerprint: Fingerprint,
        lookup_key: LookupKey,
        creation: Creation,
    ) -> None:
        self.spec: AnySpec = spec
        self.index: int = index
        self.number: int = number
        self.fingerprint: Fingerprint = fingerprint
        self.lookup_key: LookupKey = lookup_key
        self.creation: Creation = creation
        # What it has in common with others whose last natural key a server may take for the same.
        self.shared: str = creation.names[-1]

    @property
    def new(self) -> Any:  # noqa: ANN401
        """The record."""
        return self.creation.new

    @property
    def pending(self) -> PendingCreate:
        """What is known of its create."""
        return self.creation.pending

    @property
    def in_doubt(self) -> InDoubt:
        """What is known of its sends."""
        return self.creation.pending.in_doubt

    @property
    def last_key(self) -> LookupKey:
        """The last of the record's natural keys, which others of the job may have, too."""
        return self.creation.pending.keys[-1]

    @property
    def begun(self) -> bool:
        """Whether it may have been sent, or changed, in this run, or is being settled."""
        return self.state is not WorkState.PLANNED

    def outcome(self, status: OutcomeStatus, **more: Any) -> Outcome:  # noqa: ANN401
        """Build its outcome; ``more`` is as in ``Outcome``."""
        if status is OutcomeStatus.ADOPTED:
            more["differs"] = self.there.differs
        elif status in {OutcomeStatus.UPDATED, OutcomeStatus.WOULD_UPDATE}:
            more["unpatched"] = unpatchable(self.spec, self.new)
            more["differs"] = unchangeable(self.spec, self.there.differs)
        pending = self.creation.pending
        return Outcome(
            index=self.index,
            key=pending.keys[0].text,
            status=status,
            resource=self.spec.name,
            attempts=pending.attempts,
            **more,
        )

    def planned(self, plan: Plan) -> Outcome:
        """Build the outcome of a record for which nothing was sent, as nothing is to be or this is a dry run."""
        changes: Sequence[FieldChange] = ()
        status = plan.status or OutcomeStatus.CREATED
        status = PLANNED.get(status, status)
        if status is OutcomeStatus.WOULD_CREATE:
            changes = creation_of(self.spec, self.new)
        elif status is OutcomeStatus.WOULD_UPDATE:
            changes = update_of(self.spec, self.new, self.there)
        return self.outcome(
            status,
            changes=changes,
            id=plan.id,
            matched_by=None if plan.id is None else self.lookup_key.called,
            others=plan.others,
            error=plan.problem,
        )

    def failed(self, error: ClarusError) -> Outcome:
        """Build the outcome of a record of which nothing was created."""
        return self.outcome(OutcomeStatus.FAILED, error=Problem.of(error))

    def settled(self, settled: Conclusion) -> Outcome:
        """Build the outcome of a record that was in doubt."""
        in_doubt, ids = self.in_doubt, settled.ids
        answered_id = in_doubt.answered_id
        if settled.fate is Fate.THERE:
            if answered_id is not None:
                return self.outcome(OutcomeStatus.CREATED, id=answered_id)
            return self.outcome(OutcomeStatus.ADOPTED, id=ids[0], matched_by=self.lookup_key.called)
        if settled.fate is Fate.ABSENT:
            error = self.creation.error or ConnectionFailedError("nothing of it is there", retryable=True)
            absent = not_there(error) if in_doubt.sends else error
            return self.failed(with_facts(absent, attempts=self.pending.attempts))
        if settled.fate is Fate.SEVERAL:
            error = OutcomeUnknownError(settled.reason, applied=Applied.YES)
            return self.outcome(OutcomeStatus.DUPLICATED, id=ids[0], others=ids[1:], error=Problem.of(error))
        error = OutcomeUnknownError(settled.reason, applied=in_doubt.applied)
        return self.outcome(
            OutcomeStatus.UNRESOLVED,
            id=answered_id,
            others=tuple(i for i in ids if i != answered_id),
            error=Problem.of(error),
        )
