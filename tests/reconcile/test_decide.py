"""What becomes of a create in doubt: every decision, and what answers for a send."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from clarus_async.errors import Applied
from clarus_async.reconcile.decide import (
    CLOCK_MARGIN,
    Conclusion,
    Fate,
    LookUp,
    LookupResult,
    SendAgain,
    decide,
    lookup_result,
)
from clarus_async.reconcile.loop import settle_create
from clarus_async.reconcile.pending import InDoubt
from clarus_async.resources.integrations import IntegrationRow

SETTLE = 60.0
NOON = datetime(2026, 1, 10, 12, tzinfo=UTC)
SENT_TWICE = "it was sent 2 times, and 2 records answer for it"


def doubt(**fields):
    return InDoubt(**{"sends": 1, "given_up": 100.0, "applied": Applied.MAYBE} | fields)


def step(known, looked=None, *, may_send_again=True):
    return decide(known, looked, SETTLE, may_send_again=may_send_again)


def row(number, created_at=NOON):
    return IntegrationRow(id=number, name="A", created_at=created_at)


def answering(rows, known=None, **more):
    more.setdefault("not_before", NOON)
    return lookup_result(rows, known or doubt(), at=105.0, **more)


class TestSent:
    def test_it_counts_and_keeps_when_the_last_one_ended(self):
        known = InDoubt()
        known.sent(Applied.MAYBE, 5.0)
        known.sent(Applied.MAYBE, 9.0)
        assert (known.sends, known.given_up, known.applied, known.answered_id) == (2, 9.0, Applied.MAYBE, None)

    def test_the_first_id_that_an_answer_gave_stays(self):
        known = InDoubt()
        known.sent(Applied.YES, 5.0, 7)
        known.sent(Applied.YES, 9.0, 8)
        assert known.answered_id == 7

    def test_what_was_applied_for_certain_stays_so(self):
        known = InDoubt()
        known.sent(Applied.YES, 5.0)
        known.sent(Applied.MAYBE, 9.0)
        assert known.applied is Applied.YES


class TestNothingSent:
    def test_it_is_sent(self):
        assert step(InDoubt()) == SendAgain()

    def test_where_it_may_not_be_it_is_absent(self):
        assert step(InDoubt(), may_send_again=False) == Conclusion(Fate.ABSENT)


class TestFirstLook:
    def test_one_send_is_looked_up_at_once(self):
        assert step(doubt()) == LookUp(100.0)

    def test_several_are_looked_up_when_they_have_settled(self):
        assert step(doubt(sends=2)) == LookUp(160.0)


class TestFound:
    @pytest.mark.parametrize("at", [101.0, 160.0, 500.0])
    def test_one_that_was_sent_once_is_there(self, at):
        assert step(doubt(), LookupResult(at, (7,))) == Conclusion(Fate.THERE, (7,))

    def test_one_that_was_sent_twice_is_looked_up_once_more(self):
        assert step(doubt(sends=2), LookupResult(159.0, (7,))) == LookUp(160.0)

    def test_and_is_there_when_it_has_settled(self):
        assert step(doubt(sends=2), LookupResult(160.0, (7,))) == Conclusion(Fate.THERE, (7,))

    def test_one_that_may_be_another_s_is_looked_up_once_more(self):
        assert step(doubt(), LookupResult(101.0, (7,), sure=False)) == LookUp(160.0)

    def test_and_is_never_adopted(self):
        settled = step(doubt(), LookupResult(160.0, (7,), sure=False))
        assert (settled.fate, settled.ids) == (Fate.UNDECIDED, (7,))
        assert "another create's" in settled.reason

    def test_several_of_several_sends_are_named(self):
        assert step(doubt(sends=2), LookupResult(160.0, (7, 8))) == Conclusion(Fate.SEVERAL, (7, 8), SENT_TWICE)

    def test_several_of_one_send_are_not_all_ours(self):
        settled = step(doubt(), LookupResult(101.0, (7, 8)))
        assert (settled.fate, settled.ids) == (Fate.UNDECIDED, (7, 8))
        assert "sent once" in settled.reason

    def test_the_one_that_an_answer_gave_comes_first(self):
        assert step(doubt(sends=2, answered_id=8), LookupResult(160.0, (7, 8))) == Conclusion(
            Fate.SEVERAL, (8, 7), SENT_TWICE
        )

    def test_the_one_that_an_answer_gave_is_there_whatever_the_list_says(self):
        assert step(doubt(sends=2, answered_id=8), LookupResult(160.0, ())) == Conclusion(Fate.THERE, (8,))


class TestAbsent:
    @pytest.mark.parametrize("at", [100.0, 159.999])
    def test_it_proves_nothing_before_it_has_settled(self, at):
        assert step(doubt(), LookupResult(at, ())) == LookUp(160.0)

    def test_then_it_is_sent_again(self):
        assert step(doubt(), LookupResult(160.0, ())) == SendAgain()

    def test_where_it_may_not_be_sent_it_is_absent(self):
        assert step(doubt(), LookupResult(160.0, ()), may_send_again=False) == Conclusion(Fate.ABSENT)

    def test_what_was_refused_is_not_sent_again(self):
        assert step(doubt(refused=True), LookupResult(160.0, ())) == Conclusion(Fate.ABSENT)

    @pytest.mark.parametrize("may_send_again", [True, False])
    def test_what_was_applied_for_certain_is_not_sent_again(self, may_send_again):
        settled = step(doubt(applied=Applied.YES), LookupResult(160.0, ()), may_send_again=may_send_again)
        assert settled.fate is Fate.UNDECIDED
        assert "not in the list" in settled.reason


class TestWhatAnswers:
    def test_a_record_that_came_after_the_send(self):
        assert answering([row(7)]) == LookupResult(105.0, (7,))

    def test_one_that_a_look_before_saw_does_not(self):
        assert answering([row(7), row(8)], doubt(seen=frozenset({7}))).ids == (8,)

    def test_one_whose_id_another_create_was_given_does_not(self):
        assert answering([row(7), row(8)], given={7}).ids == (8,)

    def test_one_that_was_created_before_does_not(self):
        old = NOON - timedelta(seconds=CLOCK_MARGIN + 0.001)
        assert answering([row(7, old), row(8, NOON - timedelta(seconds=CLOCK_MARGIN))]).ids == (8,)

    @pytest.mark.parametrize(("seconds", "ids"), [(50, (7,)), (61, (7,)), (62, ())])
    def test_one_whose_time_was_cut_to_minutes_may_be_ours_and_is_not_certain(self, seconds, ids):
        looked = answering([row(7, NOON)], not_before=NOON + timedelta(seconds=seconds))
        assert (looked.ids, looked.sure) == (ids, not ids)

    def test_an_uncertain_clock_takes_what_is_older_for_what_may_be_ours(self):
        old = NOON - timedelta(hours=1, seconds=1)
        assert answering([row(7, old)]).ids == ()
        assert answering([row(7, old)], clock_uncertain=True) == answering(
            [row(7, old)], clock_uncertain=True
        )._replace(sure=False)
        assert answering([row(7, old)], clock_uncertain=True).ids == (7,)
        assert answering([row(7, old), row(8)], clock_uncertain=True).ids == (8,)

    def test_one_that_an_answer_gave_does_whenever_it_was_created(self):
        assert answering([row(7, NOON - timedelta(days=1))], doubt(answered_id=7)).ids == (7,)

    def test_after_a_look_before_the_send_no_clock_matters(self):
        assert answering([row(7, NOON - timedelta(days=1))], doubt(seen=frozenset())) == LookupResult(105.0, (7,))

    def test_where_no_clock_tells_it_is_not_sure(self):
        assert answering([row(7)], not_before=None) == LookupResult(105.0, (7,), sure=False)

    def test_where_another_create_of_the_name_is_under_way_it_is_not_sure(self):
        assert answering([row(7)], contested=True) == LookupResult(105.0, (7,), sure=False)

    @pytest.mark.parametrize("more", [{"not_before": None}, {"contested": True}])
    def test_that_nothing_is_there_is_sure(self, more):
        assert answering([], **more) == LookupResult(105.0, ())

    def test_a_record_that_two_pages_have_is_one(self):
        assert answering([row(7), row(8), row(7)]).ids == (7, 8)


class TestWhatDoesNotTellWhenItWasCreated:
    """Whose such a record is, nobody knows, unless a look before the send saw it or an answer named it."""

    @pytest.mark.parametrize("uncertain", [False, True])
    def test_it_may_be_ours(self, uncertain):
        assert answering([row(1, None)], clock_uncertain=uncertain) == LookupResult(105.0, (1,), sure=False)

    @pytest.mark.parametrize("old", [NOON - timedelta(hours=1), NOON - timedelta(seconds=CLOCK_MARGIN), NOON])
    def test_beside_another_it_leaves_that_in_doubt_and_none_out(self, old):
        looked = answering([row(1, None), row(2, old)])
        assert looked.ids == ((1,) if old < NOON - timedelta(minutes=2) else (2, 1))
        assert not looked.sure

    def test_what_a_look_before_the_send_saw_is_not_ours(self):
        assert answering([row(1, None), row(2)], doubt(seen=frozenset({1}))) == LookupResult(105.0, (2,))

    def test_what_came_after_a_look_before_the_send_is_ours(self):
        assert answering([row(1, None), row(2, None)], doubt(seen=frozenset({1}))) == LookupResult(105.0, (2,))

    def test_what_an_answer_named_is_ours(self):
        assert answering([row(1, None)], doubt(answered_id=1)) == LookupResult(105.0, (1,))

    def test_what_was_given_to_another_is_not_ours(self):
        assert answering([row(1, None)], given=[1]) == LookupResult(105.0, ())

    def test_what_a_search_found_to_be_no_older_than_the_send_is_ours_and_the_rest_is_old(self):
        assert answering([row(1, None)], created_since=[1]) == LookupResult(105.0, (1,))
        assert answering([row(1, None), row(2, None)], created_since=[2]) == LookupResult(105.0, (2,))
        assert answering([row(1, None), row(2, None)], created_since=[1, 2]) == LookupResult(105.0, (1, 2))

    @pytest.mark.parametrize("more", [{"contested": True}, {"not_before": None}])
    def test_a_search_makes_nothing_certain_that_may_be_another_s(self, more):
        assert not answering([row(1, None)], created_since=[1], **more).sure

    def test_a_search_that_found_nothing_new_proves_nothing(self):
        # Our own record would be created twice if the server's filter or another of its clocks made it older.
        assert answering([row(1, None)], created_since=[]) == LookupResult(105.0, (1,), sure=False)
        assert answering([row(1, None), row(2, None)], created_since=[2], given=[2]).ids == (1,)
        assert not answering([row(1, None), row(2, None)], created_since=[2], given=[2]).sure


class Starving:
    """Sends that are certainly not applied; the first so many end as the retry budget is empty."""

    def __init__(self, known, starving):
        self.known, self.starving, self.sends = known, starving, 0

    async def wait(self, _at):
        return True

    async def look_up(self):
        raise AssertionError("nothing was applied, so there is nothing to look up")

    async def send(self):
        self.sends += 1
        self.known.budget_exhausted += self.sends <= self.starving


@pytest.mark.parametrize(("starving", "sends"), [(0, 3), (3, 6), (10, 13), (50, 13)])
async def test_a_send_that_had_fewer_attempts_than_it_was_due_costs_no_try(starving, sends):
    known = InDoubt()
    actions = Starving(known, starving)

    assert await settle_create(known, actions, SETTLE, most_sends=4) == Conclusion(Fate.ABSENT)
    assert actions.sends == sends
