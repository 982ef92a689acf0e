"""A record of a run's input, and the outcomes that it can come to."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence

import attrs

from clarus_async.errors import Applied, ClarusError, ConnectionFailedError, OutcomeUnknownError, with_facts
from clarus_async.provisioning.existing import Before, unchangeable, unpatchable
from clarus_async.provisioning.report import Outcome, OutcomeStatus, Problem
from clarus_async.reconcile.decide import Fate, Settled
from clarus_async.reconcile.pending import Lookup, PendingCreate
from clarus_async.resources.integrations import NewIntegration
from clarus_async.retry.call_error import not_there


@attrs.define(eq=False)
class WorkItem:
    """A record that a run works on.

    Args:
        index: its place in the input.
        new: the record.
        n: its number in the journal; 0 where there is no journal.
        hash: of all that is to be sent, where there is a journal.
        lookup: what it is looked up by.
        draft: what became of it so far.
        update: the id of the record that is to be changed, where it is there already.
        again: is told when another send of it has ended.
        entered: the journal says how it is sent.
        begun: a worker has taken it, or it is being settled.
        own: the id that an earlier run knew it to have.
        changed: it is in doubt, and was another record when it was sent.
        was_in_doubt: the name under which an earlier run left it in doubt.
        ours: a send of this job made what is there.
        corrected: it is known not to be what it was when an earlier run brought it to its end.
        given: digests of what the server was given last of each attribute; ``None`` where nobody knows.
        names: others that what is there may have.
        others: ids of further records that an earlier run knew of.
        differs: attributes that are given and that what is there does not have.
    """

    index: int
    new: NewIntegration = attrs.field(repr=False)
    n: int
    hash: str | None
    lookup: Lookup
    draft: PendingCreate
    update: int | None = None
    again: asyncio.Future[None] | None = None
    entered: bool = False
    begun: bool = False
    own: int | None = None
    changed: bool = False
    was_in_doubt: str | None = None
    ours: bool = False
    corrected: bool = False
    given: Mapping[str, str] | None = None
    names: Sequence[str] = ()
    others: Collection[int] = ()
    differs: Sequence[str] = ()

    @property
    def key(self) -> str:
        """The record's key."""
        return self.new.key

    @property
    def other_name(self) -> str | None:
        """The record's name, where that is not its key."""
        return None if self.new.name == self.key else self.new.name

    def outcome(self, status: OutcomeStatus, **more: object) -> Outcome:
        """Build its outcome.

        Args:
            status: what became of it.
            more: as in :class:`Outcome`.
        """
        fields = {"attempts": self.draft.attempts, **more}
        if status is OutcomeStatus.ADOPTED:
            fields["differs"] = self.differs
        elif status is OutcomeStatus.UPDATED:
            fields |= {"unpatched": unpatchable(self.new), "differs": unchangeable(self.differs)}
        return Outcome(index=self.index, key=self.key, status=status, **fields)  # type: ignore[arg-type]

    def before(self, before: Before) -> Outcome:
        """Build the outcome of a record for which nothing was sent.

        Args:
            before: what a look came to.
        """
        status = before.status or OutcomeStatus.CREATED
        found = before.integration_id
        return self.outcome(
            status,
            integration_id=found,
            matched_by=None if found is None else self.lookup.matched_by,
            others=before.others,
            error=before.problem,
        )

    def failed(self, error: ClarusError) -> Outcome:
        """Build the outcome of a record of which nothing was created.

        Args:
            error: why.
        """
        return self.outcome(OutcomeStatus.FAILED, error=Problem.of(error))

    def settled(self, settled: Settled) -> Outcome:
        """Build the outcome of a record that was in doubt.

        Args:
            settled: how that ended.
        """
        draft, ids = self.draft, settled.ids
        made = draft.doubt.made
        if settled.fate is Fate.THERE:
            if made is not None:
                return self.outcome(OutcomeStatus.CREATED, integration_id=made)
            return self.outcome(OutcomeStatus.ADOPTED, integration_id=ids[0], matched_by=self.lookup.matched_by)
        if settled.fate is Fate.ABSENT:
            error = draft.error or ConnectionFailedError("nothing of it is there", retryable=True)
            absent = not_there(error) if draft.doubt.sends else error
            return self.failed(with_facts(absent, attempts=draft.attempts))
        if settled.fate is Fate.SEVERAL:
            why = f"it was sent {draft.doubt.sends} times, and {len(ids)} records answer for it"
            error = OutcomeUnknownError(why, applied=Applied.YES)
            return self.outcome(
                OutcomeStatus.DUPLICATED, integration_id=ids[0], others=ids[1:], error=Problem.of(error)
            )
        error = OutcomeUnknownError(settled.because or "it is not settled", applied=draft.doubt.applied)
        return self.outcome(
            OutcomeStatus.UNRESOLVED,
            integration_id=made,
            others=tuple(i for i in ids if i != made),
            error=Problem.of(error),
        )
