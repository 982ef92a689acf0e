"""What an observer is told."""

import pytest

from clarus_async.errors import Applied
from clarus_async.events import AttemptEvent, CallEvent, TokenEvent, WaitEvent, WaitReason

EVENTS = [
    CallEvent(1, "create", "POST", "/api/integrations", 0.0, 1.0, 2, 200, Applied.NO, None),
    AttemptEvent(1, "create", 1, 0.0, 1.0, 200, None, "done", "abc"),
    WaitEvent(1, "create", WaitReason.PACE, 2.0),
    TokenEvent(0.1, 300.0, None),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_is_frozen(event):
    with pytest.raises(AttributeError):
        setattr(event, event._fields[0], "x")


def test_what_a_call_waits_for():
    assert set(WaitReason) == {"backoff", "pace", "connection", "token"}


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_names_no_tenant_and_no_record(event):
    assert not {"subdomain", "tenant", "key", "name", "body", "headers"} & set(event._fields)
