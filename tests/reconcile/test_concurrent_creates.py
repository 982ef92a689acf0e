"""Creates of one name: whose ids are whose, whether another may come, and what is forgotten when."""

from __future__ import annotations

import pytest

from clarus_async.reconcile.concurrent_creates import ConcurrentCreates


def begun(*creates):
    """Namesakes of which these have begun, each at time 0."""
    names = ConcurrentCreates()
    for name, whose in creates:
        names.begin([name], 0.0, whose)
    return names


def test_a_name_that_nobody_created_has_no_ids_and_no_rivals():
    names = ConcurrentCreates()
    assert list(names.given_to_others("A")) == []
    assert not names.contested("A", 0.0)


def test_one_that_is_under_way_alone_has_no_rival():
    assert not begun(("A", "one")).contested("A", 1.0, "one")


def test_two_that_are_under_way_are_rivals():
    assert begun(("A", "one"), ("A", "two")).contested("A", 1.0, "one")


def test_one_that_is_resumed_is_no_rival_of_its_own():
    assert not begun(("A", "one"), ("A", "one")).contested("A", 1.0, "one")


def test_another_name_is_no_rival():
    assert not begun(("A", "one"), ("B", "two")).contested("A", 1.0, "one")


def test_one_that_has_ended_well_is_no_rival_and_its_id_is_given():
    names = begun(("A", "one"), ("A", "two"))
    names.end(["A"], 1.0, "two", 7)
    assert not names.contested("A", 1.0, "one")
    assert set(names.given_to_others("A", "one")) == {7}


def test_an_id_is_not_given_to_whose_it_is():
    names = begun(("A", "one"))
    names.end(["A"], 1.0, "one", 7)
    assert list(names.given_to_others("A", "one")) == []


def test_one_that_ended_in_doubt_is_a_rival_until_it_has_settled():
    names = begun(("A", "one"), ("A", "two"))
    names.end(["A"], 1.0, "one", until=61.0)
    assert names.contested("A", 60.9, "two")
    assert not names.contested("A", 61.0, "two")


def test_one_that_ends_well_does_not_shorten_another_s_doubt():
    names = begun(("A", "one"), ("A", "two"), ("A", "three"))
    names.end(["A"], 1.0, "one", until=61.0)
    names.end(["A"], 2.0, "two", 7)
    assert names.contested("A", 60.0, "three")


def test_a_doubt_that_is_settled_is_none_any_more():
    names = begun(("A", "one"), ("A", "two"))
    names.end(["A"], 1.0, "one", until=61.0)
    names.begin(["A"], 2.0, "one")
    names.end(["A"], 3.0, "one", 7)
    assert not names.contested("A", 1.0, "two")


def test_what_ended_is_forgotten_a_while_later():
    names = begun(("A", "one"))
    names.end(["A"], 1.0, "one", 7)
    names.begin(["B"], 11.0, "two")
    assert set(names.given_to_others("A")) == {7}
    names.begin(["B"], 21.1, "three")
    assert list(names.given_to_others("A")) == []
    assert len(names) == 1


def test_and_all_of_it_where_nothing_began_for_long():
    names = begun(("A", "one"))
    names.begin(["B"], 11.0, "two")
    names.end(["A"], 12.0, "one", 7)
    names.end(["B"], 12.0, "two", 8)
    assert not names.idle(21.0)
    assert names.idle(31.1)


def test_what_came_to_nothing_is_forgotten_at_once():
    names = begun(("A", "one"))
    names.end(["A"], 1.0, "one")
    assert len(names) == 0


def test_an_id_is_remembered_as_long_as_one_is_under_way_that_may_take_it_for_its_own():
    names = begun(("A", "one"), ("A", "two"))
    names.end(["A"], 1.0, "two", 7)
    names.begin(["B"], 1000.0, "three")
    assert set(names.given_to_others("A", "one")) == {7}
    names.begin(["B"], 1020.0, "four")
    assert set(names.given_to_others("A", "one")) == {7}


def test_and_not_for_one_that_began_long_after():
    names = begun(("A", "one"))
    names.end(["A"], 1.0, "one", 7)
    names.begin(["B"], 11.1, "two")
    names.begin(["A"], 11.2, "three")
    names.begin(["B"], 21.2, "four")
    assert list(names.given_to_others("A", "three")) == []


def test_a_name_that_is_always_in_use_remembers_what_is_recent():
    names = ConcurrentCreates()
    for number in range(10_000):
        names.begin(["A"], number * 1.0, str(number))
        if number:
            names.end(["A"], number * 1.0, str(number - 1), number - 1)
    assert 10 <= len(names.given_to_others("A")) <= 25


@pytest.mark.parametrize("look", [50.0, 60.9])
def test_a_doubt_is_not_forgotten_before_it_has_settled(look):
    names = begun(("A", "one"))
    names.end(["A"], 1.0, "one", until=61.0)
    names.begin(["B"], look, "two")
    names.begin(["A"], look, "three")
    assert names.contested("A", look, "three")


def test_and_is_forgotten_then():
    names = begun(("A", "one"))
    names.end(["A"], 1.0, "one", until=61.0)
    names.begin(["B"], 50.0, "two")
    names.end(["B"], 50.0, "two")
    names.begin(["B"], 600.0, "three")
    names.end(["B"], 600.0, "three")
    assert len(names) == 1
    names.begin(["B"], 700.0, "four")
    names.end(["B"], 700.0, "four")
    assert len(names) == 0


def test_what_others_were_given_is_known_to_whoever_settles_a_doubt_later():
    names = begun(("A", "one"), ("A", "two"))
    names.end(["A"], 1.0, "one", until=61.0)
    names.end(["A"], 2.0, "two", 7)
    names.begin(["B"], 300.0, "three")
    names.begin(["A"], 300.0, "one")
    assert names.given_to_others("A", "one") == [7]


def test_a_doubt_is_remembered_for_one_that_was_sent_before_it_settled():
    names = begun(("A", "one"))
    names.end(["A"], 1.0, "one", until=61.0)
    names.begin(["A"], 30.0, "two")
    names.begin(["B"], 500.0, "three")
    assert names.contested("A", 30.0, "two")


def test_a_name_that_ended_twice_is_forgotten_once():
    names = begun(("A", "one"), ("A", "two"))
    names.end(["A"], 1.0, "one", 1)
    names.end(["A"], 1.0, "two", 2)
    names.begin(["B"], 20.1, "three")
    assert len(names) == 1


def test_an_end_of_what_was_forgotten_is_none():
    names = ConcurrentCreates()
    names.end(["A"], 1.0, "one")
    assert len(names) == 0


def test_a_million_names_leave_nothing_behind():
    names = ConcurrentCreates()
    for number in range(10_000):
        names.begin([f"A {number}"], number * 1.0, str(number))
        names.end([f"A {number}"], number * 1.0, str(number), number)
    assert len(names) <= 12


def test_one_that_came_to_nothing_leaves_the_other_under_way():
    names = begun(("A", "one"), ("A", "two"))
    names.end(["A"], 1.0, "two")
    assert len(names) == 1
    assert names.contested("A", 1.0, "three")
    assert not names.contested("A", 1.0, "one")


def test_a_create_that_ends_after_a_long_silence_is_remembered_for_the_next():
    names = ConcurrentCreates()
    names.begin(["x"], 0.0, "early")
    names.begin(["k"], 9.9, "one")
    names.end(["k"], 19.5, "one", 5)
    names.begin(["k"], 20.1, "two")
    assert names.given_to_others("k", "two") == [5]
    assert not names.idle(29.0)


def test_all_ids_of_one_name_are_remembered():
    names = begun(("A", "one"))
    for number in range(1000):
        names.begin(["A"], 1.0, str(number))
        names.end(["A"], 1.0, str(number), number)
    assert names.given_to_others("A", "one") == list(range(1000))
