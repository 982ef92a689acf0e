"""Creates of one name: whose ids are whose, whether another may come, and what is forgotten when."""

from __future__ import annotations

from clarus_async.policy.namesakes import Namesakes


def test_a_name_that_nobody_created_has_no_ids_and_no_rivals():
    names = Namesakes()
    assert list(names.given("A")) == []
    assert not names.rivals("A", 0.0)


def test_one_that_is_under_way_alone_has_no_rival():
    names = Namesakes()
    names.begin("A", 0.0)
    assert not names.rivals("A", 1.0)


def test_two_that_are_under_way_are_rivals():
    names = Namesakes()
    names.begin("A", 0.0)
    names.begin("A", 1.0)
    assert names.rivals("A", 1.0)


def test_another_name_is_no_rival():
    names = Namesakes()
    names.begin("A", 0.0)
    names.begin("B", 0.0)
    assert not names.rivals("A", 1.0)


def test_one_that_has_ended_well_is_no_rival_and_its_id_is_given():
    names = Namesakes()
    names.begin("A", 0.0)
    names.begin("A", 0.0)
    names.end("A", 1.0, 7)
    assert not names.rivals("A", 1.0)
    assert set(names.given("A")) == {7}


def test_one_that_ended_in_doubt_is_a_rival_until_it_has_settled():
    names = Namesakes()
    names.begin("A", 0.0)
    names.begin("A", 0.0)
    names.end("A", 1.0, whose="one", until=61.0)
    assert names.rivals("A", 60.9)
    assert not names.rivals("A", 61.0)


def test_one_that_ends_well_does_not_shorten_another_s_doubt():
    names = Namesakes()
    for _ in range(3):
        names.begin("A", 0.0)
    names.end("A", 1.0, whose="one", until=61.0)
    names.end("A", 2.0, 7)
    assert names.rivals("A", 60.0)


def test_what_ended_is_forgotten_a_while_later():
    names = Namesakes()
    names.begin("A", 0.0)
    names.end("A", 1.0, 7)
    names.begin("B", 11.0)
    assert set(names.given("A")) == {7}
    names.begin("B", 11.1)
    assert list(names.given("A")) == []
    assert len(names) == 1


def test_what_is_under_way_is_not_forgotten():
    names = Namesakes()
    names.begin("A", 0.0)
    names.begin("A", 0.0)
    names.end("A", 1.0, 7)
    names.begin("B", 1000.0)
    assert set(names.given("A")) == {7}


def test_what_began_again_is_remembered_from_its_last_end():
    names = Namesakes()
    names.begin("A", 0.0)
    names.end("A", 1.0, 7)
    names.begin("A", 5.0)
    names.end("A", 9.0, 8)
    names.begin("B", 15.0)
    assert set(names.given("A")) == {7, 8}


def test_a_doubt_is_not_forgotten_before_it_has_settled():
    names = Namesakes()
    names.begin("A", 0.0)
    names.end("A", 1.0, whose="one", until=61.0)
    names.begin("B", 50.0)
    names.begin("A", 50.0)
    assert names.rivals("A", 50.0)


def test_and_is_forgotten_then():
    names = Namesakes()
    names.begin("A", 0.0)
    names.end("A", 1.0, whose="one", until=61.0)
    names.begin("B", 50.0)
    names.end("B", 50.0)
    names.begin("B", 62.0)
    assert len(names) == 1


def test_a_name_that_ended_twice_is_forgotten_once():
    names = Namesakes()
    for _ in range(2):
        names.begin("A", 0.0)
    for _ in range(2):
        names.end("A", 1.0)
    names.begin("B", 20.0)
    assert len(names) == 1


def test_a_million_names_leave_nothing_behind():
    names = Namesakes()
    for number in range(10_000):
        names.begin(f"A {number}", number * 1.0)
        names.end(f"A {number}", number * 1.0, number)
    assert len(names) <= 12
