"""Which keys an input has had already, and what each goes with."""

import pytest

from clarus_async.provisioning import text_numbers
from clarus_async.provisioning.text_numbers import TextNumbers
from clarus_async.reconcile.pending import folded


def test_what_was_not_noted_has_no_number():
    assert TextNumbers().find("a") == []


def test_a_text_has_the_numbers_that_it_was_noted_with_in_order():
    numbers = TextNumbers()
    for text, number in (("a", 1), ("b", 2), ("a", 3), ("a", 1)):
        numbers.add(text, number)

    assert [numbers.find(text) for text in ("a", "b", "c")] == [[1, 3, 1], [2], []]


@pytest.mark.parametrize("number", [0, 1, -1, 2**63 - 1, -(2**63)])
def test_a_number_has_64_bits_and_a_sign(number):
    numbers = TextNumbers()
    numbers.add("a", number)

    assert numbers.find("a") == [number]


@pytest.mark.parametrize(("one", "two"), [("a", "A"), ("a", "a "), ("é", "e\u0301"), ("", " "), ("ab", "ba")])
def test_texts_that_differ_at_all_are_two(one, two):
    numbers = TextNumbers()
    numbers.add(one, 1)

    assert numbers.find(two) == []


@pytest.mark.parametrize("hashed", [hash, text_numbers._digest], ids=["64 bits", "32 bits"])
def test_ten_thousand_texts_are_told_apart(monkeypatch, hashed):
    monkeypatch.setattr(text_numbers, "_hash", hashed)
    numbers = TextNumbers()
    for number in range(10_000):
        numbers.add(f"key-{number}", number)

    assert all(numbers.find(f"key-{number}") == [number] for number in range(10_000))
    assert not any(numbers.find(f"other-{number}") for number in range(10_000))


def test_a_digest_that_only_seems_to_be_there_is_passed_over():
    """Where the end of one entry and the start of the next look like a digest, there is none."""
    wanted = TextNumbers()
    wanted.add("wanted", 7)
    [row] = [row for row in wanted._rows if row]
    digest = bytes(row[:8])
    at = wanted._rows.index(row)
    shifted = TextNumbers()
    shifted._rows[at] = bytearray(b"\0" * 12 + digest + b"\0" * 12)

    assert shifted.find("wanted") == []


def test_a_long_text_is_kept_as_a_short_hash():
    numbers = TextNumbers()
    numbers.add("x" * 1_000_000, 1)

    assert [len(row) for row in numbers._rows if row] == [16]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("SHOP-1", "shop-1"),
        (" shop\t1 ", "shop 1"),
        ("shop  1", "shop 1"),
        ("shop\u00a01", "shop 1"),
        ("caf\u00e9", "cafe\u0301"),
        ("CAF\u00c9", "cafe"),
        ("stra\u00dfe", "STRASSE"),
        ("\ufb01sch", "fisch"),
        ("\uff33hop", "shop"),
        ("\u0130stanbul", "istanbul"),
        ("shop\u200b1", "shop1"),
    ],
)
def test_what_a_server_may_take_for_equal_folds_to_the_same(one, other):
    assert folded(one) == folded(other)


@pytest.mark.parametrize(("one", "other"), [("a-1", "a_1"), ("a 1", "a1"), ("a.", "a"), ("a", "\u0430")])
def test_what_no_server_takes_for_equal_does_not(one, other):
    assert folded(one) != folded(other)
