"""When a tenant may send."""

import pytest

from clarus_async.policy.pacing import Pace, Turn


def pace(random=lambda: 0.0):
    return Pace(random)


def paused(retry_after=None, at=10.0, random=lambda: 0.0):
    """A tenant that was refused at ``at``, by a request that was sent a second before."""
    it = pace(random)
    it.refused(at - 1.0, at, retry_after)
    return it


def test_a_tenant_is_open_to_begin_with():
    assert pace().ask(0.0) is Turn.GO
    assert pace().wait(0.0) == 0.0


def test_an_answer_leaves_an_open_tenant_open():
    it = pace()
    it.answered(0.0, 1.0)

    assert it.ask(1.0) is Turn.GO


def test_a_refusal_pauses_until_retry_after():
    it = paused(retry_after=5.0)

    assert it.ask(10.0) == 5.0
    assert it.ask(14.0) == 1.0
    assert it.ask(15.0) is Turn.PROBE


@pytest.mark.parametrize(("drawn", "seconds"), [(0.0, 0.25), (0.5, 0.375), (1.0, 0.5)])
def test_a_refusal_without_retry_after_pauses_half_fixed_and_half_jitter(drawn, seconds):
    assert paused(random=lambda: drawn).ask(10.0) == pytest.approx(seconds)


def test_what_is_waited_for_can_be_seen():
    it = paused(retry_after=5.0)

    assert (it.wait(12.0), it.wait(15.0), it.wait(99.0)) == (3.0, 0.0, 0.0)


def test_one_probe_goes_alone():
    it = paused(retry_after=5.0)
    it.ask(15.0)

    assert it.ask(15.0) is None
    assert it.ask(1_000.0) is None


def test_whether_a_probe_is_out_can_be_seen():
    it = paused(retry_after=5.0)
    seen = [it.probing]
    it.ask(15.0)
    seen.append(it.probing)
    it.lost()

    assert [*seen, it.probing] == [False, True, False]


def test_a_probe_that_is_answered_opens_the_tenant():
    it = paused(retry_after=5.0)
    it.ask(15.0)
    it.answered(15.0, 15.1)

    assert it.ask(15.1) is Turn.GO
    assert it.ask(15.1) is Turn.GO


def test_a_probe_that_is_lost_makes_the_next_caller_the_probe():
    it = paused(retry_after=5.0)
    it.ask(15.0)
    it.lost()

    assert it.ask(16.0) is Turn.PROBE
    assert it.ask(16.0) is None


def test_a_probe_that_is_refused_makes_the_pause_longer():
    it = paused(random=lambda: 1.0)
    waits = []
    now = 10.0
    for _ in range(9):
        waits.append(it.ask(now))
        now += waits[-1]
        assert it.ask(now) is Turn.PROBE
        it.refused(now, now, None)

    assert waits == pytest.approx([0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0])


def test_an_answer_makes_the_pauses_short_again():
    it = paused(random=lambda: 1.0)
    for now in (20.0, 40.0, 80.0):
        it.ask(now)
        it.refused(now, now, None)
    it.ask(200.0)
    it.answered(200.0, 200.1)
    it.refused(300.0, 301.0, None)

    assert it.wait(301.0) == pytest.approx(0.5)


def test_a_pause_grows_for_longer_than_any_run_takes():
    it = pace()
    for n in range(5_000):
        it.refused(n * 100.0, n * 100.0, None)

    assert it.wait(499_900.0) == 15.0


def test_a_refusal_that_was_under_way_when_the_pause_began_does_not_make_it_longer():
    it = paused(random=lambda: 1.0)
    for sent_at in (9.2, 9.5, 9.9):
        it.refused(sent_at, 10.2, None)

    assert it.wait(10.0) == pytest.approx(0.5)


def test_unless_its_retry_after_is_later_still():
    it = paused(retry_after=5.0)
    it.refused(9.5, 11.0, 30.0)

    assert it.wait(11.0) == 30.0


def test_a_retry_after_that_is_earlier_takes_nothing_back():
    it = paused(retry_after=30.0)
    it.refused(9.5, 11.0, 1.0)

    assert it.wait(11.0) == 29.0


def test_an_answer_that_was_under_way_when_the_pause_began_does_not_end_it():
    it = paused(retry_after=5.0)
    it.answered(9.9, 11.0)

    assert it.ask(11.0) == 4.0


def test_a_retry_after_is_kept_up_to_an_hour():
    assert paused(retry_after=1e18).ask(10.0) == 3600.0


def test_a_retry_after_is_kept_through_a_probe_that_is_refused_without_one():
    it = paused(retry_after=5.0)
    it.ask(15.0)
    it.refused(9.5, 15.5, 60.0)
    it.refused(15.0, 16.0, None)

    assert it.ask(16.0) == pytest.approx(59.5)


def test_a_retry_after_is_kept_through_a_probe_that_is_answered():
    it = paused(retry_after=5.0)
    it.ask(15.0)
    it.refused(9.5, 15.5, 60.0)
    it.answered(15.0, 16.0)

    assert it.ask(16.0) == pytest.approx(59.5)
    assert it.ask(75.5) is Turn.PROBE


def test_an_answer_to_a_request_that_was_sent_as_the_pause_began_does_not_end_it():
    it = paused(retry_after=5.0)
    it.answered(10.0, 11.0)

    assert it.ask(11.0) == 4.0


def test_a_server_that_always_says_retry_at_once_is_asked_less_and_less():
    it = pace()
    now = 0.0
    refusals = 0
    while now < 60.0:
        turn = it.ask(now)
        if isinstance(turn, float):
            now += turn
            continue
        assert turn is not None
        sent_at, now = now, now + 0.02
        it.refused(sent_at, now, 0.0)
        refusals += 1

    assert refusals < 60
