"""The failure table ("What a failure proves" in the guide), written out; the code must come to the same.

Each row is what was seen, what it proves, and what follows for a create | a read, update, delete | a synchronize or a
mutation, in the contract's own words.
"""

import pytest

from clarus_async.errors import Applied
from clarus_async.retry.effect import NO_WAY, Answered, Conclusion, Effect, Kind, NextAction, NoAnswer, judge, worst

AGAIN, RAISE, PACE, REFRESH = NextAction.AGAIN, NextAction.RAISE, NextAction.PACE, NextAction.REFRESH
RECONCILE, DONE = NextAction.UNSETTLED, NextAction.DONE
# "raise", where it may have been applied: never as if nothing had happened.
RAISE_UNKNOWN = NextAction.UNSETTLED

UNKNOWN = (
    *(Answered(status) for status in (408, 500, 501, 502, 503, 504, 505, 507, 511, 520, 599)),
    # A Retry-After says when to come back, and nothing of what was done.
    *(Answered(status, retry_after=wait) for status in (408, 500, 502, 503, 504) for wait in (0.0, 2.5, 3600.0)),
    NoAnswer.CONNECTION_LOST,
    NoAnswer.TIMED_OUT,
)
REFUSED = (400, 402, 403, 404, 405, 406, 409, 410, 413, 415, 418, 422, 423, 425, 428, 431, 451, 499)

TABLE = [
    # no connection was obtained
    *((seen, Effect.NOT_SENT, AGAIN, AGAIN, AGAIN) for seen in (NoAnswer.NO_CONNECTION,)),
    # certificate not valid, a proxy that refuses, code of the caller's that raised before anything was sent
    *((seen, Effect.NOT_SENT, RAISE, RAISE, RAISE) for seen in (*sorted(NO_WAY), NoAnswer.WITHHELD)),
    # 429
    *((Answered(429, wait), Effect.REJECTED, PACE, PACE, PACE) for wait in (None, 0.0, 30.0)),
    # 401
    *((Answered(401, wait), Effect.REJECTED, REFRESH, REFRESH, REFRESH) for wait in (None, 1.0)),
    # any other 4xx but 408
    *((Answered(status), Effect.REJECTED, RAISE, RAISE, RAISE) for status in REFUSED),
    *((Answered(status, retry_after=1.0), Effect.REJECTED, RAISE, RAISE, RAISE) for status in (403, 409, 422)),
    # 500, 502, 503 whatever its headers, 504, other 5xx, 408; reset, EOF, timeout on an obtained connection
    *((seen, Effect.UNKNOWN, RECONCILE, AGAIN, RAISE_UNKNOWN) for seen in UNKNOWN),
    # code of the caller's that raised once something may have been sent: sent again, it would raise again
    (NoAnswer.RAISED_AFTER, Effect.UNKNOWN, RECONCILE, RAISE, RAISE_UNKNOWN),
    # any 3xx
    *(
        (Answered(status), Effect.MISCONFIGURED, RAISE, RAISE, RAISE)
        for status in (300, 301, 302, 303, 304, 307, 308, 399)
    ),
]
COLUMN = {Kind.CREATE: 0, Kind.READ: 1, Kind.UPDATE: 1, Kind.DELETE: 1, Kind.ACTION: 2}

cells = pytest.mark.parametrize(
    ("seen", "kind", "proof", "step"),
    [
        pytest.param(seen, kind, proof, steps[column], id=f"{seen!r}-{kind}")
        for seen, proof, *steps in TABLE
        for kind, column in COLUMN.items()
    ],
)
kinds = pytest.mark.parametrize("kind", Kind)
without_delete = pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.DELETE])


@cells
def test_a_cell_of_the_table(seen, kind, proof, step):
    assert judge(kind, seen) == Conclusion(proof, step)


@cells
def test_an_earlier_doubt_changes_no_cell_but_one(seen, kind, proof, step):
    if (kind, seen) == (Kind.DELETE, Answered(404)):
        step, proof = DONE, Effect.DONE

    assert judge(kind, seen, doubt=True) == Conclusion(proof, step)


@cells
def test_only_an_action_whose_outcome_is_unknown_is_repeated_because_it_is_repeatable(seen, kind, proof, step):
    if kind is Kind.ACTION and proof is Effect.UNKNOWN and seen is not NoAnswer.RAISED_AFTER:
        step = AGAIN

    assert judge(kind, seen, repeatable=True) == Conclusion(proof, step)


@kinds
@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_a_success_that_can_be_read_is_done(kind, status):
    assert judge(kind, Answered(status)) == Conclusion(Effect.DONE, DONE)


# 2xx that can't be read: APPLIED, id unknown.


def test_a_create_whose_success_can_not_be_read_is_reconciled_and_never_sent_again():
    assert judge(Kind.CREATE, Answered(200, readable=False)) == Conclusion(Effect.APPLIED, RECONCILE)


def test_a_read_whose_success_can_not_be_read_is_an_error():
    assert judge(Kind.READ, Answered(200, readable=False)).step is RAISE


@pytest.mark.parametrize("status", [200, 202, 204])
@pytest.mark.parametrize("whole", [True, False])
def test_an_update_was_done_whatever_its_answer_lacks(status, whole):
    assert judge(Kind.UPDATE, Answered(status, readable=False, whole=whole)).step is DONE


def test_a_delete_needs_no_body_so_it_is_done_without_one():
    assert judge(Kind.DELETE, Answered(200, readable=False)).step is DONE


def test_a_mutation_needs_its_data_so_it_is_not_done_without_it():
    assert judge(Kind.ACTION, Answered(200, readable=False)) == Conclusion(Effect.APPLIED, RAISE_UNKNOWN)


# A 2xx that reports errors, as GraphQL's do: a failure (CLARUS_API.md §3).


def test_a_query_whose_answer_reports_errors_failed():
    assert judge(Kind.READ, Answered(200, faulty=True)) == Conclusion(Effect.REJECTED, RAISE)


def test_a_mutation_whose_answer_reports_errors_may_have_been_applied_in_part():
    assert judge(Kind.ACTION, Answered(200, faulty=True)) == Conclusion(Effect.UNKNOWN, RAISE)


@pytest.mark.parametrize("kind", list(Kind))
def test_errors_of_what_was_not_executed_are_a_refusal(kind):
    assert judge(kind, Answered(200, faulty=True, executed=False)) == Conclusion(Effect.REJECTED, RAISE)


# A body that did not come whole: both rows meet, "2xx that can't be read" and "EOF on an obtained connection".


def test_a_read_is_repeated_where_its_success_was_cut_short():
    assert judge(Kind.READ, Answered(200, readable=False, whole=False)) == Conclusion(Effect.APPLIED, AGAIN)


@pytest.mark.parametrize("repeatable", [False, True])
@pytest.mark.parametrize("kind", [Kind.CREATE, Kind.ACTION])
def test_what_can_not_be_repeated_is_not_repeated_where_its_success_was_cut_short(kind, repeatable):
    verdict = judge(kind, Answered(200, readable=False, whole=False), repeatable=repeatable)

    assert verdict == Conclusion(Effect.APPLIED, RAISE_UNKNOWN)


def test_a_delete_whose_success_was_cut_short_is_done():
    assert judge(Kind.DELETE, Answered(200, readable=False, whole=False)).step is DONE


def test_a_deletes_404_after_a_doubt_is_done():
    assert judge(Kind.DELETE, Answered(404), doubt=True) == Conclusion(Effect.DONE, DONE)


@pytest.mark.parametrize("status", [400, 403, 409, 410, 422])
def test_no_other_refusal_of_a_delete_after_a_doubt_is_done(status):
    assert judge(Kind.DELETE, Answered(status), doubt=True) == Conclusion(Effect.REJECTED, RAISE)


@without_delete
def test_nobody_elses_404_after_a_doubt_is_done(kind):
    assert judge(kind, Answered(404), doubt=True) == Conclusion(Effect.REJECTED, RAISE)


@kinds
@pytest.mark.parametrize("status", [100, 101, 199, 600, 999])
def test_a_status_that_no_rfc_knows_proves_nothing(kind, status):
    assert judge(kind, Answered(status)).proof is Effect.UNKNOWN


# What a call's attempts may have done together.

WRITES = [kind for kind in Kind if kind is not Kind.READ]


@pytest.mark.parametrize("kind", WRITES)
@pytest.mark.parametrize(
    ("before", "proof", "after"),
    [
        *((before, Effect.NOT_SENT, before) for before in Applied),
        *((before, Effect.REJECTED, before) for before in Applied),
        *((before, Effect.MISCONFIGURED, before) for before in Applied),
        (Applied.NO, Effect.UNKNOWN, Applied.MAYBE),
        (Applied.MAYBE, Effect.UNKNOWN, Applied.MAYBE),
        (Applied.YES, Effect.UNKNOWN, Applied.YES),
        *((before, Effect.APPLIED, Applied.YES) for before in Applied),
        *((before, Effect.DONE, Applied.YES) for before in Applied),
    ],
)
def test_an_attempt_adds_to_what_those_before_it_may_have_done(kind, before, proof, after):
    assert worst(before, Conclusion(proof, NextAction.RAISE), kind) is after


@pytest.mark.parametrize("proof", Effect)
def test_a_read_applies_nothing(proof):
    assert worst(Applied.NO, Conclusion(proof, NextAction.RAISE), Kind.READ) is Applied.NO
