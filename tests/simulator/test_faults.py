"""Which fault befalls which request."""

from collections import Counter

import pytest

from clarus_async.simulator import Endpoint, Fault, FaultKind
from clarus_async.simulator.faults import FaultPlan

WRITES = {Endpoint.CREATE, Endpoint.UPDATE, Endpoint.DELETE, Endpoint.SYNCHRONIZE}


def fates(plan, count, endpoint=Endpoint.CREATE, tenant="acme"):
    drawn = (plan.draw(endpoint, tenant) for _ in range(count))
    return [fault and fault.kind for fault in drawn]


def test_kind_may_be_positional_and_a_plain_string():
    assert Fault("reset_after", endpoint="create") == Fault(kind=FaultKind.RESET_AFTER, endpoint=Endpoint.CREATE)


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        ("reset_before", {"probability": 1.1}, "probability must be 0 to 1"),
        ("reset_before", {"probability": float("nan")}, "probability must be 0 to 1"),
        ("stall_before", {"delay": -1.0}, "delay must be seconds, 0 or more"),
        ("reset_before", {"delay": 1.0}, "delay means nothing here"),
        ("graphql_errors", {"endpoint": "create"}, "endpoint must be one of graphql"),
        ("stale_list", {"endpoint": "token"}, "endpoint must be one of graphql"),
        ("late_apply", {"endpoint": "graphql"}, "endpoint must be one of create, delete, synchronize, update"),
        ("error_before", {"status": 200}, "status must be 400 to 599"),
        ("redirect", {"status": 500}, "status must be 300 to 399"),
        ("reset_before", {"status": 500}, "status means nothing here"),
        ("truncated", {"retry_after": 1.0}, "retry_after means nothing here"),
        ("unavailable", {"retry_after": -1.0}, "retry_after must be seconds, 0 or more"),
        ("unavailable", {"retry_after_date": True}, "retry_after_date needs retry_after"),
        ("html_502", {"location": "/"}, "location means nothing here"),
        ("redirect", {"location": "/\r\nX: y"}, "location must be one line of ASCII"),
        ("oversized", {"size": 0}, "size must be bytes, 1 or more"),
        ("not_json", {"gzip": True}, "size and gzip mean nothing here"),
    ],
)
def test_a_bad_value_is_refused_with_its_kind(kind, values, message):
    with pytest.raises(ValueError, match=f"Fault '{kind}': {message}"):
        Fault(kind, **values)


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="'meteor' is not a valid FaultKind"):
        Fault("meteor")


@pytest.mark.parametrize(
    ("kind", "where"),
    [
        (FaultKind.RESET_BEFORE, set(Endpoint)),
        (FaultKind.LATE_APPLY, WRITES),
        (FaultKind.GATEWAY_TIMEOUT, WRITES),
        (FaultKind.STALE_LIST, {Endpoint.GRAPHQL}),
        (FaultKind.GRAPHQL_ERRORS, {Endpoint.GRAPHQL}),
        (FaultKind.ODD_ROWS, {Endpoint.GRAPHQL}),
        (FaultKind.UNAUTHORIZED, WRITES | {Endpoint.GRAPHQL}),
    ],
)
def test_a_fault_without_an_endpoint_befalls_those_that_fit(kind, where):
    assert {endpoint for endpoint in Endpoint if Fault(kind).fits(endpoint, "acme")} == where


def test_a_fault_on_the_token_endpoint_can_be_asked_for():
    assert Fault(FaultKind.UNAUTHORIZED, endpoint=Endpoint.TOKEN).fits(Endpoint.TOKEN, None)


def test_a_fault_may_befall_one_tenant_only():
    plan = FaultPlan([Fault(FaultKind.RESET_BEFORE, tenant="acme")], 0)

    assert fates(plan, 1, tenant="acme") == [FaultKind.RESET_BEFORE]
    assert fates(plan, 1, tenant="other") == [None]


def test_each_fault_keeps_its_own_probability():
    plan = FaultPlan(
        [Fault(FaultKind.RESET_BEFORE, probability=0.3), Fault(FaultKind.RESET_AFTER, probability=0.3)], seed=7
    )
    counts = Counter(fates(plan, 10_000))

    assert counts[FaultKind.RESET_BEFORE] == pytest.approx(3_000, abs=200)
    assert counts[FaultKind.RESET_AFTER] == pytest.approx(3_000, abs=200)


def test_the_same_seed_gives_the_same_fates():
    faults = [Fault(FaultKind.RESET_AFTER, probability=0.5)]

    assert fates(FaultPlan(faults, 1), 100) == fates(FaultPlan(faults, 1), 100)
    assert fates(FaultPlan(faults, 1), 100) != fates(FaultPlan(faults, 2), 100)


def test_other_requests_in_between_change_nobodys_fate():
    faults = [Fault(FaultKind.RESET_AFTER, probability=0.5)]
    alone, mixed = FaultPlan(faults, 1), FaultPlan(faults, 1)
    drawn = []
    for _ in range(100):
        mixed.draw(Endpoint.TOKEN, None)
        mixed.draw(Endpoint.CREATE, "other")
        drawn += fates(mixed, 1)

    assert drawn == fates(alone, 100)


def test_a_script_comes_before_the_dice_and_in_order():
    plan = FaultPlan([Fault(FaultKind.HTML_502)], 0)
    plan.script(Endpoint.CREATE, [FaultKind.RESET_BEFORE, None, Fault(FaultKind.NOT_JSON)])

    assert fates(plan, 1, Endpoint.UPDATE) == [FaultKind.HTML_502]
    assert fates(plan, 4) == [FaultKind.RESET_BEFORE, None, FaultKind.NOT_JSON, FaultKind.HTML_502]


def test_a_scripted_fault_waits_for_its_tenant():
    plan = FaultPlan([], 0)
    plan.script(Endpoint.CREATE, [Fault(FaultKind.RESET_BEFORE, tenant="acme"), FaultKind.NOT_JSON])

    assert fates(plan, 1, tenant="other") == [None]
    assert fates(plan, 1, tenant="acme") == [FaultKind.RESET_BEFORE]
    assert fates(plan, 1, tenant="other") == [FaultKind.NOT_JSON]


@pytest.mark.parametrize(
    "fault", [FaultKind.STALE_LIST, Fault(FaultKind.STALE_LIST), Fault(FaultKind.NOT_JSON, endpoint="delete")]
)
def test_a_script_refuses_what_makes_no_sense_there(fault):
    with pytest.raises(ValueError, match="'create'"):
        FaultPlan([], 0).script(Endpoint.CREATE, [fault])


def test_probabilities_that_meet_add_up_to_one_at_most():
    FaultPlan([Fault("html_502", endpoint="create"), Fault("html_502", endpoint="update")], 0)
    with pytest.raises(ValueError, match=r"'create' for tenant 'acme': probabilities add up to 1\.5"):
        FaultPlan([Fault("html_502", endpoint="create"), Fault("not_json", tenant="acme", probability=0.5)], 0)


def test_faults_can_be_replaced():
    plan = FaultPlan([Fault(FaultKind.HTML_502)], 0)
    plan.replace([])

    assert fates(plan, 1) == [None]
