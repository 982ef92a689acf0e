"""The package: what importing it costs, what its plugin does, and what it says when something is missing."""

import sys

import pytest

import clarus_async.simulator
from clarus_async.simulator import Quota, Simulator


def test_every_public_name_is_there():
    for name in clarus_async.simulator.__all__:
        assert getattr(clarus_async.simulator, name).__name__ == name


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = clarus_async.simulator.Nonsense


def test_without_graphql_core_it_says_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "graphql"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "graphql", None)
    monkeypatch.delitem(sys.modules, "clarus_async.simulator.schema", raising=False)
    monkeypatch.delattr(clarus_async.simulator, "schema", raising=False)

    with pytest.raises(ImportError, match=r'pip install "clarus-async\[simulator\]"'):
        Simulator()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tenants": ()}, "tenants must be a sequence"),
        ({"tenants": "acme"}, "tenants must be a sequence"),
        ({"tenants": ("acme", "acme")}, "tenants must differ"),
        ({"latency": -1.0}, "latency must be seconds"),
        ({"latency": (2.0, 1.0)}, "latency must be seconds, 0 or more, the shorter first"),
        ({"token_lifetime": 0.0}, "token_lifetime must be seconds, more than 0"),
        ({"max_page_size": 0}, "max_page_size must be 1 or more"),
        ({"keep_requests": 0}, "keep_requests must be 1 or more"),
        ({"quota": {"other": Quota(limit=1)}}, "no tenant 'other', only acme"),
    ],
)
def test_a_bad_option_is_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        Simulator(**options)


def test_an_unknown_tenant_is_named():
    with pytest.raises(ValueError, match="no tenant 'other', only acme"):
        Simulator().integrations("other")


def test_records_can_be_there_before_it_starts():
    simulator = Simulator(seed=3)
    stored = simulator.preload("acme", [{"name": "Old", "integration_type": "shopify"}])

    assert simulator.integrations("acme") == stored
    assert (stored[0].id, stored[0].send, stored[0].request_id) == (1, 0, None)


def test_a_preloaded_record_must_be_acceptable():
    with pytest.raises(ValueError, match=r"preload, record 1: .*name_blank"):
        Simulator().preload(
            "acme",
            [
                {"name": "a", "integration_type": "shopify"},
                {"name": "", "integration_type": "shopify"},
            ],
        )
