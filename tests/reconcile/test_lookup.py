"""Natural keys with a scope: whose record is whose, and what is asked for together."""

from __future__ import annotations

import pickle

import attrs
import pytest

from clarus_async import Applied, InvalidInputError, JournalError, NewIntegration, OutcomeUnknownError
from clarus_async.provisioning.journal.file import JournalFile
from clarus_async.provisioning.journal.rows import Row
from clarus_async.provisioning.review import keys_of, review_journal
from clarus_async.reconcile import lookup
from clarus_async.reconcile.decide import Conclusion, Fate, LookupResult, decide
from clarus_async.reconcile.lookup_batcher import LookupBatcher, LookupRows
from clarus_async.reconcile.pending import InDoubt, LookupKey, PendingCreate, lookup_keys
from clarus_async.reconcile.single import resolve
from clarus_async.resources.integrations import INTEGRATIONS, IntegrationRow
from clarus_async.resources.spec import NaturalKey
from tests.provisioning.test_run import Api, LostError, collect, provision
from tests.support.virtual import virtual
from tests.support.virtual_world import inline_journal  # noqa: F401  a fixture

SCOPED = attrs.evolve(
    INTEGRATIONS,
    name="scoped_things",
    keys=(NaturalKey(field="external_system_reference1", called="reference", scope=("integration_type", "provider")),),
)


def thing(reference, integration_type="carrier", provider="dhl", name="Any"):
    return NewIntegration(
        name=name, integration_type=integration_type, provider=provider, external_system_reference1=reference
    )


def key_of(*arguments, **more):
    [key] = lookup_keys(SCOPED, thing(*arguments, **more))
    return key


def row(number, **more):
    fields = {"external_system_reference1": "r-1", "integration_type": "carrier", "provider": "dhl"}
    return IntegrationRow(id=number, **fields | more)


class ScopedApi(Api):
    """A tenant whose records are told apart within a scope."""

    spec = SCOPED

    def store(self, new, *, at=None):
        number = super().store(new, at=at)
        self.rows[-1] = attrs.evolve(
            self.rows[-1],
            external_system_reference1=new.external_system_reference1,
            integration_type=new.integration_type,
            provider=new.provider,
        )
        return number

    async def find(self, keys, *, wait_for_pace=False):
        assert len({(key.field, key.scope) for key in keys}) == 1
        found = await super().find(keys, wait_for_pace=wait_for_pace)
        return {
            key: [row for row in rows if all(getattr(row, name) == value for name, value in key.scope)]
            for key, rows in found.items()
        }


def test_what_tells_an_integration_from_others_is_its_reference_else_its_name():
    assert [key.text for key in lookup_keys(INTEGRATIONS, thing("r-1", name="A"))] == ["r-1", "A"]
    assert [key.text for key in lookup_keys(INTEGRATIONS, thing(None, name="A"))] == ["A"]


def test_a_value_is_told_from_the_same_one_in_another_scope():
    one, other, without = key_of("r-1"), key_of("r-1", provider="ups"), key_of("r-1", provider=None)
    assert len({one, other, without}) == len({one.text, other.text, without.text}) == 3
    assert one.folded == key_of("R-1").folded != other.folded


def test_a_scope_is_asked_for_by_the_names_of_the_server():
    scope = {"integration_type": {"eq": "carrier"}, "integration_provider": {"eq": "dhl"}}
    assert lookup._filter(SCOPED, [key_of("r-1")]) == scope | {"external_system_reference1": {"eq": "r-1"}}
    assert lookup._filter(SCOPED, [key_of("r-1"), key_of("r-2")]) == scope | {
        "external_system_reference1": {"in": ["r-1", "r-2"]}
    }


def test_what_has_no_value_is_not_asked_for_and_is_no_other_s():
    key = key_of("r-1", provider=None)
    assert "integration_provider" not in lookup._filter(SCOPED, [key])
    assert lookup._by_key(SCOPED, [key], [row(1), row(2, provider=None)]) == {key: [row(2, provider=None)]}


@virtual
class TestBatches:
    async def test_a_query_is_of_one_scope(self):
        api = ScopedApi()
        keys = [key_of(f"r-{number}", provider=provider) for number in range(3) for provider in ("dhl", "ups")]
        found = await LookupBatcher(api).look_up(keys)
        assert sorted(api.looked_up) == [["r-0", "r-1", "r-2"]] * 2
        assert {key: answer.rows for key, answer in found.items()} == {key: [] for key in keys}
        assert all(isinstance(answer, LookupRows) for answer in found.values())

    async def test_the_schema_is_not_asked_for_where_every_tenant_s_list_can_be_searched(self):
        class Unasked(ScopedApi):
            async def searches_optional_keys(self, *, wait_for_pace=False):
                raise AssertionError

        assert await LookupBatcher(Unasked()).choose([key_of("r-1")]) == key_of("r-1")


@virtual
class TestRun:
    async def test_the_same_value_in_two_scopes_is_two_records(self):
        api = ScopedApi()
        outcomes = await collect(provision(api, [thing("r-1"), thing("r-1", provider="ups"), thing("r-1")], 1))
        assert sorted((outcome.key, outcome.status) for outcome in outcomes) == [
            ("carrier/dhl/r-1", "created"), ("carrier/dhl/r-1", "failed"), ("carrier/ups/r-1", "created"),
        ]  # fmt: skip
        assert {outcome.resource for outcome in outcomes} == {"scoped_things"}

    async def test_one_in_doubt_is_found_in_its_scope(self):
        api = ScopedApi({"Lost": LostError(after=0.0)})
        api.store(thing("r-1", provider="ups"))
        [outcome] = await collect(provision(api, [thing("r-1", name="Lost")]))
        assert (outcome.status, outcome.id, outcome.matched_by) == ("adopted", 2, "reference")

    async def test_a_journal_keeps_the_scope_and_a_review_asks_for_it(self, tmp_path, inline_journal):  # noqa: F811
        api, path = ScopedApi({"Lost": LostError(after=0.0)}), tmp_path / "run.db"
        things = [thing("r-1", name="Lost"), thing("r-1", provider="ups"), thing("r-2")]
        first = await collect(provision(api, things, journal=path))
        again = await collect(provision(api, things, journal=path))
        assert [(o.index, o.id, o.status) for o in sorted(again, key=lambda o: o.index)] == [
            (o.index, o.id, o.status) for o in sorted(first, key=lambda o: o.index)
        ]
        assert len(api.names) == 3
        # What came later than it may.
        api.store(thing("r-1"), at=1.0)
        api.looked_up.clear()
        [reviewed] = [outcome async for outcome in review_journal(api, path)]
        assert (reviewed.key, reviewed.status, reviewed.others) == ("carrier/dhl/r-1", "duplicated", (4,))
        assert api.looked_up == [["r-1"]]

    async def test_the_keys_of_a_row_are_those_of_its_record(self, tmp_path):
        file = JournalFile(tmp_path / "run.db", "acme", "https://clarus-api.com", "scoped_things")
        assert file.open() == []
        file.close()
        with pytest.raises(JournalError, match="its resource is scoped_things, this one's integrations"):
            JournalFile(tmp_path / "run.db", "acme", "https://clarus-api.com", "integrations").open()


def test_a_row_of_a_journal_tells_its_keys():
    scoped = Row(1, "carrier/dhl/r-1", "r-1", scope=["carrier", "dhl"])
    assert keys_of(SCOPED, scoped) == lookup_keys(SCOPED, thing("r-1"))
    assert keys_of(INTEGRATIONS, Row(1, "r-1", "A")) == lookup_keys(INTEGRATIONS, thing("r-1", name="A"))
    assert keys_of(INTEGRATIONS, Row(1, "A")) == lookup_keys(INTEGRATIONS, thing(None, name="A"))


def test_a_pending_create_holds_nothing_of_what_is_sent_but_its_keys():
    new = attrs.evolve(thing("r-1", name="A"), configuration={"api_key": "canary-3f9c"}, string1="canary-3f9c")
    pending = PendingCreate("integrations", lookup_keys(INTEGRATIONS, new), "idempotency-key")
    assert b"canary" not in pickle.dumps(pending)
    assert "canary" not in repr(pending)
    assert pickle.loads(pickle.dumps(pending)) == pending


def test_what_is_resumed_is_not_sent_again():
    in_doubt = InDoubt(sends=1, applied=Applied.MAYBE, rate_limited=3, budget_exhausted=2, retry_at=1e9)
    pending = PendingCreate("integrations", [LookupKey("name", "A", "name")], "idempotency-key", in_doubt)
    resumed = pending.resumed(100.0).in_doubt
    for result in (LookupResult(160.0, ()), LookupResult(200.0, ())):
        assert decide(resumed, result, 60.0, may_send_again=True) == Conclusion(Fate.ABSENT)


async def test_the_error_of_another_resource_is_not_settled():
    pending = PendingCreate("integrations", [LookupKey("name", "A", "name")], "idempotency-key")
    assert isinstance(await resolve(None, ScopedApi(), OutcomeUnknownError("lost")), InvalidInputError)
    assert isinstance(await resolve(None, ScopedApi(), OutcomeUnknownError("lost", pending=pending)), InvalidInputError)
