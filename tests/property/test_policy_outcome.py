"""A call's attempts together: a doubt is never forgotten, and a create is never sent again blindly."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from clarus_async.errors import Applied, ClarusError, GraphQLError, OutcomeUnknownError
from clarus_async.retry.effect import Answered, Effect, Kind, NextAction, NoAnswer, judge, worst
from clarus_async.retry.failure import Ending, failure
from clarus_async.wire.reading import Unreadable
from tests.support.strategies import any_texts, error_details, quick, thorough

ORDER = list(Applied)
kinds = st.sampled_from(Kind)
writes = st.sampled_from([kind for kind in Kind if kind is not Kind.READ])
answers = st.builds(
    Answered,
    st.integers(100, 599) | st.integers(),
    st.none() | st.floats(0, 1e18),
    readable=st.booleans(),
    whole=st.booleans(),
    faulty=st.booleans(),
    executed=st.booleans(),
)
everything_seen = answers | st.sampled_from(NoAnswer)
SENT_AGAIN = {NextAction.AGAIN, NextAction.PACE, NextAction.REFRESH}


@given(kinds, everything_seen, st.booleans(), st.booleans())
@thorough
def test_whatever_is_seen_is_judged(kind, seen, repeatable, doubt):
    verdict = judge(kind, seen, repeatable=repeatable, doubt=doubt)

    assert verdict.proof in Effect
    assert verdict.step in NextAction


@given(everything_seen, st.booleans(), st.booleans())
@thorough
def test_a_create_that_may_have_been_applied_is_never_sent_again_blindly(seen, repeatable, doubt):
    verdict = judge(Kind.CREATE, seen, repeatable=repeatable, doubt=doubt)

    if worst(Applied.NO, verdict, Kind.CREATE) is not Applied.NO:
        assert verdict.step in {NextAction.UNSETTLED, NextAction.DONE}


@given(everything_seen, st.booleans())
@thorough
def test_an_action_that_may_have_been_applied_is_never_sent_again_unasked(seen, doubt):
    verdict = judge(Kind.ACTION, seen, doubt=doubt)

    assert verdict.step not in SENT_AGAIN or worst(Applied.NO, verdict, Kind.ACTION) is Applied.NO


@given(writes, st.lists(everything_seen, max_size=6))
@thorough
def test_what_a_call_may_have_done_is_never_forgotten(kind, attempts):
    applied = Applied.NO
    for seen in attempts:
        before = applied
        verdict = judge(kind, seen, doubt=applied is not Applied.NO)
        applied = worst(applied, verdict, kind)
        assert ORDER.index(applied) >= ORDER.index(before)
        if verdict.proof is Effect.UNKNOWN:
            assert applied is not Applied.NO


@given(st.lists(everything_seen, max_size=6))
@quick
def test_reads_never_apply_anything(attempts):
    applied = Applied.NO
    for seen in attempts:
        applied = worst(applied, judge(Kind.READ, seen), Kind.READ)

    assert applied is Applied.NO


endings = st.builds(
    Ending,
    kind=kinds,
    method=st.sampled_from(["POST", "PATCH", "DELETE"]),
    path=st.just("/graphql"),
    seen=st.none() | everything_seen,
    details=st.lists(error_details, max_size=2).map(tuple),
    unreadable=st.none() | st.builds(Unreadable, any_texts, any_texts),
    applied=st.sampled_from(Applied),
    attempts=st.integers(0, 9),
    request_id=st.none() | any_texts,
    out_of_time=st.booleans(),
    because=st.none() | any_texts,
    key=st.none() | any_texts,
    sent_at=st.none(),
    wait=st.none() | st.floats(0, 1e6),
    stopped_by=st.none(),
    repeatable=st.booleans(),
)


@given(endings)
@thorough
def test_every_ending_has_an_error_that_says_what_may_have_been_applied(ending):
    error = failure(ending)

    assert isinstance(error, ClarusError)
    assert error.applied is ending.applied
    faulty = isinstance(ending.seen, Answered) and ending.seen.faulty
    assert isinstance(error, GraphQLError) is faulty
    assert isinstance(error, OutcomeUnknownError) is (ending.applied is not Applied.NO and not faulty)
    assert (error.method, error.path, error.attempts) == (ending.method, ending.path, ending.attempts)
    assert len(str(error).splitlines()) == 1
