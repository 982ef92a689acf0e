"""A call's attempts together: a doubt is never forgotten, and a create is never sent again blindly."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from clarus_async.errors import Applied, ClarusError, GraphQLError, OutcomeUnknownError
from clarus_async.retry.call_error import FailedCall, call_error
from clarus_async.retry.effect import (
    Effect,
    NextAction,
    NoResponse,
    OperationKind,
    ResponseSummary,
    classify,
    merge_applied,
)
from clarus_async.wire.reading import Unreadable
from tests.support.strategies import any_texts, error_details, thorough

ORDER = list(Applied)
kinds = st.sampled_from(OperationKind)
writes = st.sampled_from([kind for kind in OperationKind if kind is not OperationKind.READ])
answers = st.builds(
    ResponseSummary,
    st.integers(100, 599) | st.integers(),
    st.none() | st.floats(0, 1e18),
    readable=st.booleans(),
    whole=st.booleans(),
    faulty=st.booleans(),
    executed=st.booleans(),
)
everything_seen = answers | st.sampled_from(NoResponse)
SENT_AGAIN = {NextAction.RETRY, NextAction.RETRY_WHEN_PERMITTED, NextAction.REFRESH_TOKEN}


@given(st.sampled_from([OperationKind.CREATE, OperationKind.ACTION]), everything_seen, st.booleans(), st.booleans())
@thorough
def test_what_may_have_been_applied_is_never_sent_again_unasked(kind, result, repeatable, doubt):
    # Nobody can ask for a create to be repeated: it is looked up first.
    repeatable = repeatable and kind is OperationKind.CREATE
    classification = classify(kind, result, repeatable=repeatable, in_doubt=doubt)

    if merge_applied(Applied.NO, classification.effect, kind) is not Applied.NO:
        assert classification.next_action not in SENT_AGAIN
        # Nor is a create told as if nothing had happened.
        assert kind is OperationKind.ACTION or classification.next_action is not NextAction.RAISE


@given(writes, st.lists(everything_seen, max_size=6))
@thorough
def test_what_a_call_may_have_done_is_never_forgotten(kind, attempts):
    applied = Applied.NO
    for result in attempts:
        before = applied
        classification = classify(kind, result, in_doubt=applied is not Applied.NO)
        applied = merge_applied(applied, classification.effect, kind)
        assert ORDER.index(applied) >= ORDER.index(before)
        if classification.effect is Effect.UNKNOWN:
            assert applied is not Applied.NO


endings = st.builds(
    FailedCall,
    kind=kinds,
    method=st.sampled_from(["POST", "PATCH", "DELETE"]),
    path=st.just("/graphql"),
    result=st.none() | everything_seen,
    details=st.lists(error_details, max_size=2).map(tuple),
    unreadable=st.none() | st.builds(Unreadable, any_texts, any_texts),
    applied=st.sampled_from(Applied),
    attempts=st.integers(0, 9),
    request_id=st.none() | any_texts,
    out_of_time=st.booleans(),
    stop_reason=st.none() | any_texts,
    sent_at=st.none(),
    wait=st.none() | st.floats(0, 1e6),
    stop_error=st.none(),
    repeatable=st.booleans(),
)


@given(endings)
@thorough
def test_every_ending_has_an_error_that_says_what_may_have_been_applied(failed):
    error = call_error(failed)

    assert isinstance(error, ClarusError)
    assert error.applied is failed.applied
    faulty = isinstance(failed.result, ResponseSummary) and failed.result.faulty
    assert isinstance(error, GraphQLError) is faulty
    assert isinstance(error, OutcomeUnknownError) is (failed.applied is not Applied.NO and not faulty)
    assert (error.method, error.path, error.attempts) == (failed.method, failed.path, failed.attempts)
    assert len(str(error).splitlines()) == 1
