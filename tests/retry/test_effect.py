"""The failure table ("What a failure proves" in the guide), written out; the code must come to the same.

Each row is what was result, what it proves, and what follows for a create | a read, update, delete | a synchronize or a
mutation, in the contract's own words.
"""

import pytest

from clarus_async.errors import Applied
from clarus_async.retry.effect import (
    NEVER_SENDABLE,
    Classification,
    Effect,
    NextAction,
    NoResponse,
    OperationKind,
    ResponseSummary,
    classify,
    merge_applied,
)

RETRY, RAISE, DONE, RECONCILE = NextAction.RETRY, NextAction.RAISE, NextAction.DONE, NextAction.IN_DOUBT
RETRY_WHEN_PERMITTED, REFRESH_TOKEN = NextAction.RETRY_WHEN_PERMITTED, NextAction.REFRESH_TOKEN
# "raise", where it may have been applied: never as if nothing had happened.
RAISE_UNKNOWN = NextAction.IN_DOUBT

UNKNOWN = (
    *(ResponseSummary(status) for status in (408, 500, 501, 502, 503, 504, 520, 599)),
    # A Retry-After says when to come back, and nothing of what was done.
    *(ResponseSummary(status, retry_after=wait) for status in (408, 500, 502, 503, 504) for wait in (0.0, 2.5, 3600.0)),
    NoResponse.CONNECTION_LOST,
    NoResponse.TIMED_OUT,
)
REFUSED = (400, 402, 403, 404, 407, 409, 410, 418, 422, 428, 430, 499)

TABLE = [
    # no connection was obtained
    *((result, Effect.NOT_SENT, RETRY, RETRY, RETRY) for result in (NoResponse.NO_CONNECTION,)),
    # certificate not valid, a proxy that refuses, code of the caller's that raised before anything was sent
    *((result, Effect.NOT_SENT, RAISE, RAISE, RAISE) for result in (*sorted(NEVER_SENDABLE), NoResponse.WITHHELD)),
    # 429
    *(
        (ResponseSummary(429, wait), Effect.REJECTED, RETRY_WHEN_PERMITTED, RETRY_WHEN_PERMITTED, RETRY_WHEN_PERMITTED)
        for wait in (None, 0.0, 30.0)
    ),
    # 401
    *(
        (ResponseSummary(401, wait), Effect.REJECTED, REFRESH_TOKEN, REFRESH_TOKEN, REFRESH_TOKEN)
        for wait in (None, 1.0)
    ),
    # any other 4xx but 408
    *((ResponseSummary(status), Effect.REJECTED, RAISE, RAISE, RAISE) for status in REFUSED),
    *((ResponseSummary(status, retry_after=1.0), Effect.REJECTED, RAISE, RAISE, RAISE) for status in (403, 409, 422)),
    # 500, 502, 503 whatever its headers, 504, other 5xx, 408; reset, EOF, timeout on an obtained connection
    *((result, Effect.UNKNOWN, RECONCILE, RETRY, RAISE_UNKNOWN) for result in UNKNOWN),
    # code of the caller's that raised once something may have been sent: sent again, it would raise again
    (NoResponse.RAISED_AFTER, Effect.UNKNOWN, RECONCILE, RAISE, RAISE_UNKNOWN),
    # any 3xx
    *(
        (ResponseSummary(status), Effect.MISCONFIGURED, RAISE, RAISE, RAISE)
        for status in (300, 301, 302, 303, 304, 307, 308, 399)
    ),
]
COLUMN = {
    OperationKind.CREATE: 0,
    OperationKind.READ: 1,
    OperationKind.UPDATE: 1,
    OperationKind.DELETE: 1,
    OperationKind.ACTION: 2,
}

cells = pytest.mark.parametrize(
    ("result", "kind", "effect", "action"),
    [
        pytest.param(result, kind, effect, actions[column], id=f"{result!r}-{kind}")
        for result, effect, *actions in TABLE
        for kind, column in COLUMN.items()
    ],
)
kinds = pytest.mark.parametrize("kind", OperationKind)


@cells
def test_a_cell_of_the_table(result, kind, effect, action):
    assert classify(kind, result) == Classification(effect, action)


@cells
def test_an_earlier_doubt_changes_no_cell_but_one(result, kind, effect, action):
    if (kind, result) == (OperationKind.DELETE, ResponseSummary(404)):
        action, effect = DONE, Effect.DONE

    assert classify(kind, result, in_doubt=True) == Classification(effect, action)


@cells
def test_only_an_action_whose_outcome_is_unknown_is_repeated_because_it_is_repeatable(result, kind, effect, action):
    if kind is OperationKind.ACTION and effect is Effect.UNKNOWN and result is not NoResponse.RAISED_AFTER:
        action = RETRY

    assert classify(kind, result, repeatable=True) == Classification(effect, action)


@kinds
@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_a_success_that_can_be_read_is_done(kind, status):
    assert classify(kind, ResponseSummary(status)) == Classification(Effect.DONE, DONE)


# A 2xx that can't be read: it was applied, and the id is not known. Where the body was cut short, a read may do better.


@pytest.mark.parametrize(
    ("kind", "whole", "effect", "action"),
    [
        (OperationKind.CREATE, True, Effect.APPLIED, RECONCILE),
        (OperationKind.CREATE, False, Effect.APPLIED, RECONCILE),
        (OperationKind.READ, True, Effect.APPLIED, RAISE),
        (OperationKind.READ, False, Effect.APPLIED, RETRY),
        (OperationKind.UPDATE, True, Effect.DONE, DONE),
        (OperationKind.UPDATE, False, Effect.DONE, DONE),
        (OperationKind.DELETE, True, Effect.DONE, DONE),
        (OperationKind.DELETE, False, Effect.DONE, DONE),
        (OperationKind.ACTION, True, Effect.APPLIED, RAISE_UNKNOWN),
        (OperationKind.ACTION, False, Effect.APPLIED, RAISE_UNKNOWN),
    ],
)
@pytest.mark.parametrize("repeatable", [False, True])
@pytest.mark.parametrize("status", [200, 204])
def test_a_success_that_can_not_be_read_was_applied(kind, whole, effect, action, repeatable, status):
    unreadable = ResponseSummary(status, readable=False, whole=whole)

    assert classify(kind, unreadable, repeatable=repeatable) == Classification(effect, action)


# A 2xx that reports errors, as GraphQL's do: a failure (CLARUS_API.md §3).


def test_a_query_whose_answer_reports_errors_failed():
    assert classify(OperationKind.READ, ResponseSummary(200, faulty=True)) == Classification(Effect.REJECTED, RAISE)


def test_a_mutation_whose_answer_reports_errors_may_have_been_applied_in_part():
    assert classify(OperationKind.ACTION, ResponseSummary(200, faulty=True)) == Classification(Effect.UNKNOWN, RAISE)


@pytest.mark.parametrize("kind", list(OperationKind))
def test_errors_of_what_was_not_executed_are_a_refusal(kind):
    assert classify(kind, ResponseSummary(200, faulty=True, executed=False)) == Classification(Effect.REJECTED, RAISE)


@kinds
@pytest.mark.parametrize("status", [100, 101, 199, 600, 999])
def test_a_status_that_no_rfc_knows_proves_nothing(kind, status):
    assert classify(kind, ResponseSummary(status)).effect is Effect.UNKNOWN


# What a call's attempts may have done together.

WRITES = [kind for kind in OperationKind if kind is not OperationKind.READ]


@pytest.mark.parametrize("kind", WRITES)
@pytest.mark.parametrize(
    ("before", "effect", "after"),
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
def test_an_attempt_adds_to_what_those_before_it_may_have_done(kind, before, effect, after):
    assert merge_applied(before, effect, kind) is after


@pytest.mark.parametrize("effect", Effect)
def test_a_read_applies_nothing(effect):
    assert merge_applied(Applied.NO, effect, OperationKind.READ) is Applied.NO
