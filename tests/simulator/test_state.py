"""The ledger, its indexes and its past."""

from datetime import UTC, datetime, timedelta

import pytest

from clarus_async.simulator.resources import INTEGRATIONS
from clarus_async.simulator.state import Ledger, StoredRecord, Tenant

START = datetime(2026, 1, 10, 12, tzinfo=UTC)


def at(seconds):
    return START + timedelta(seconds=seconds)


def shop(name="Shop", **attributes):
    return {"name": name, "integration_type": "shopify", **attributes}


def names(page):
    return [record.name for record in page[0]]


@pytest.fixture
def ledger():
    ledger = Ledger("acme", "integrations")
    for number in range(1, 6):
        ledger.add(number * 10, shop(f"n{number}"), at(number))
    return ledger


def listed(record, *fields):
    """What a list says of a record."""
    return tuple(INTEGRATIONS.fields[field].read(record, Tenant("acme")) for field in fields)


def test_pages_walk_the_records_in_order(ledger):
    first = ledger.page(2)
    second = ledger.page(2, after=first[0][-1].id)
    third = ledger.page(2, after=second[0][-1].id)

    assert [(names(page), page[1]) for page in (first, second, third)] == [
        (["n1", "n2"], True),
        (["n3", "n4"], True),
        (["n5"], False),
    ]


def test_a_cursor_survives_the_deletion_of_its_record(ledger):
    ledger.delete(ledger.get(20), at(9))

    assert names(ledger.page(2, after=20)) == ["n3", "n4"]


def test_what_is_deleted_stays_in_the_ledger(ledger):
    ledger.delete(ledger.get(20), at(9))

    assert ledger.get(20) is None
    assert [record.name for record in ledger.present()] == ["n1", "n3", "n4", "n5"]
    assert [record.deleted_at for record in ledger.ever()] == [None, at(9), None, None, None]


def test_an_index_follows_patches_and_deletions(ledger):
    ledger.update(ledger.get(10), {"name": "n5"}, at(9))
    assert [record.id for record in ledger.find("name", "n5")] == [50, 10]
    assert ledger.find("name", "n1") == []

    ledger.delete(ledger.get(50), at(9))
    assert [record.id for record in ledger.find("name", "n5")] == [10]
    assert [record.id for record in ledger.page(9, equal={"name": ["n5", "n2"]})[0]] == [10, 20]


def test_the_past_can_be_looked_at(ledger):
    ledger.update(ledger.get(10), {"name": "new"}, at(7))
    ledger.update(ledger.get(10), {"name": "newer"}, at(8))
    ledger.delete(ledger.get(20), at(8))

    assert names(ledger.page(9, as_of=at(0))) == []
    assert names(ledger.page(9, as_of=at(3))) == ["n1", "n2", "n3"]
    assert names(ledger.page(9, as_of=at(7))) == ["new", "n2", "n3", "n4", "n5"]
    assert names(ledger.page(9, as_of=at(8))) == ["newer", "n3", "n4", "n5"]


def test_the_past_is_searched_by_what_it_was(ledger):
    ledger.update(ledger.get(10), {"name": "new"}, at(7))
    old = ledger.page(9, equal={"name": ["n1"]}, matches=lambda record: record.name == "n1", as_of=at(6))

    assert names(old) == ["n1"]


@pytest.mark.parametrize(
    ("given", "provider", "category"),
    [
        ({"integration_type": "shopify"}, "shopify", "ecommerce"),
        ({"integration_type": "brightpearl"}, "brightpearl", "erp"),
        ({"integration_type": "erp", "provider": "brightpearl"}, "brightpearl", "erp"),
        ({"integration_type": "shopify", "provider": "xero"}, "xero", "accounting"),
        ({"integration_type": "carrier"}, None, "carrier"),
        ({"integration_type": "teapot"}, "teapot", "custom"),
    ],
)
def test_a_list_reports_provider_and_type_in_its_own_words(given, provider, category):
    record = Ledger("acme", "integrations").add(1, {"name": "x", **given}, START)

    assert listed(record, "integration_provider", "integration_type") == (provider, category)


def test_a_record_is_active_unless_told_otherwise():
    ledger = Ledger("acme", "integrations")
    records = [
        ledger.add(n, shop(**given), START) for n, given in enumerate([{}, {"is_active": False}, {"is_active": None}])
    ]

    assert [listed(record, "enabled", "status") for record in records] == [
        (True, "active"), (False, "inactive"), (None, "inactive"),
    ]  # fmt: skip


def test_repr_shows_no_configuration_value():
    attributes = shop(configuration={"api_key": "canary"})
    record = StoredRecord(
        id=1, resource="integrations", tenant="acme", sequence=0, attributes=attributes, created_at=START
    )

    assert "canary" not in repr(record)
    assert "api_key" in repr(record)
    assert "shopify" in repr(Ledger("acme", "integrations").add(1, shop(), START))


def test_twenty_thousand_records_are_paged_and_searched_without_a_scan():
    ledger = Ledger("acme", "integrations")
    for number in range(1, 20_001):
        ledger.add(number, shop(f"n{number}", external_system_reference1=f"r{number}"), START)
    scanned = 0

    def matches(record):
        nonlocal scanned
        scanned += 1
        return True

    after, pages, more = 0, 0, True
    while more:
        rows, more = ledger.page(100, after=after, matches=matches)
        after, pages = rows[-1].id, pages + 1
    assert pages == 200
    assert scanned == 20_199

    scanned = 0
    ledger.page(100, equal={"external_system_reference1": ["r19999"]}, matches=matches)
    assert scanned == 1
