"""Which keys an input has had already."""

import pytest

from clarus_async.provisioning.keys import SeenKeys


def test_a_key_is_new_once():
    seen = SeenKeys()

    assert [seen.add(key) for key in ("a", "b", "a", "b", "c")] == [True, True, False, False, True]


@pytest.mark.parametrize(("one", "two"), [("a", "A"), ("a", "a "), ("é", "e\u0301"), ("", " "), ("ab", "ba")])
def test_keys_that_differ_at_all_are_two(one, two):
    seen = SeenKeys()

    assert seen.add(one)
    assert seen.add(two)


def test_ten_thousand_keys_are_told_apart():
    seen = SeenKeys()

    assert all(seen.add(f"key-{n}") for n in range(10_000))
    assert not any(seen.add(f"key-{n}") for n in range(10_000))


def test_a_long_key_is_kept_as_a_short_digest():
    seen = SeenKeys()
    seen.add("x" * 1_000_000)

    assert [len(digest) for digest in seen._digests] == [8]
