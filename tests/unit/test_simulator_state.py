"""The ledger, its indexes and its past."""

from datetime import UTC, datetime, timedelta

import pytest

from clarus_async.simulator.state import StoredIntegration, Tenant

START = datetime(2026, 1, 10, 12, tzinfo=UTC)


def at(seconds):
    return START + timedelta(seconds=seconds)


def shop(name="Shop", **attributes):
    return {"name": name, "integration_type": "shopify", **attributes}


def names(page):
    return [record.name for record in page[0]]


@pytest.fixture
def tenant():
    tenant = Tenant("acme")
    for number in range(1, 6):
        tenant.add(number * 10, shop(f"n{number}"), at(number))
    return tenant


def test_pages_walk_the_records_in_order(tenant):
    first = tenant.page(2)
    second = tenant.page(2, after=first[0][-1].id)
    third = tenant.page(2, after=second[0][-1].id)

    assert [(names(page), page[1]) for page in (first, second, third)] == [
        (["n1", "n2"], True),
        (["n3", "n4"], True),
        (["n5"], False),
    ]


def test_a_cursor_survives_the_deletion_of_its_record(tenant):
    tenant.delete(tenant.get(20), at(9))

    assert names(tenant.page(2, after=20)) == ["n3", "n4"]


def test_what_is_deleted_stays_in_the_ledger(tenant):
    tenant.delete(tenant.get(20), at(9))

    assert tenant.get(20) is None
    assert [record.name for record in tenant.present()] == ["n1", "n3", "n4", "n5"]
    assert [record.deleted_at for record in tenant.ledger()] == [None, at(9), None, None, None]


def test_an_index_follows_patches_and_deletions(tenant):
    tenant.update(tenant.get(10), {"name": "n5"}, at(9))
    assert [record.id for record in tenant.find("name", "n5")] == [50, 10]
    assert tenant.find("name", "n1") == []

    tenant.delete(tenant.get(50), at(9))
    assert [record.id for record in tenant.find("name", "n5")] == [10]
    assert [record.id for record in tenant.page(9, equal={"name": ["n5", "n2"]})[0]] == [10, 20]


def test_the_past_can_be_looked_at(tenant):
    tenant.update(tenant.get(10), {"name": "new"}, at(7))
    tenant.update(tenant.get(10), {"name": "newer"}, at(8))
    tenant.delete(tenant.get(20), at(8))

    assert names(tenant.page(9, as_of=at(0))) == []
    assert names(tenant.page(9, as_of=at(3))) == ["n1", "n2", "n3"]
    assert names(tenant.page(9, as_of=at(7))) == ["new", "n2", "n3", "n4", "n5"]
    assert names(tenant.page(9, as_of=at(8))) == ["newer", "n3", "n4", "n5"]


def test_the_past_is_searched_by_what_it_was(tenant):
    tenant.update(tenant.get(10), {"name": "new"}, at(7))
    old = tenant.page(9, equal={"name": ["n1"]}, matches=lambda record: record.name == "n1", as_of=at(6))

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
    record = Tenant("acme").add(1, {"name": "x", **given}, START)

    assert (record.integration_provider, record.integration_type) == (provider, category)


def test_a_record_is_active_unless_told_otherwise():
    tenant = Tenant("acme")
    records = [
        tenant.add(n, shop(**given), START) for n, given in enumerate([{}, {"is_active": False}, {"is_active": None}])
    ]

    assert [(r.enabled, r.status) for r in records] == [
        (True, "active"), (False, "inactive"), (None, "inactive"),
    ]  # fmt: skip


def test_repr_shows_no_configuration_value():
    attributes = shop(configuration={"api_key": "canary"})
    record = StoredIntegration(id=1, tenant="acme", sequence=0, attributes=attributes, created_at=START)

    assert "canary" not in repr(record)
    assert "api_key" in repr(record)
    assert "shopify" in repr(Tenant("acme").add(1, shop(), START))


def test_twenty_thousand_records_are_paged_and_searched_without_a_scan():
    tenant = Tenant("acme")
    for number in range(1, 20_001):
        tenant.add(number, shop(f"n{number}", external_system_reference1=f"r{number}"), START)
    scanned = 0

    def matches(record):
        nonlocal scanned
        scanned += 1
        return True

    after, pages, more = 0, 0, True
    while more:
        rows, more = tenant.page(100, after=after, matches=matches)
        after, pages = rows[-1].id, pages + 1
    assert pages == 200
    assert scanned == 20_199

    scanned = 0
    tenant.page(100, equal={"external_system_reference1": ["r19999"]}, matches=matches)
    assert scanned == 1
