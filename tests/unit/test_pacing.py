"""When a tenant may send."""

import itertools
import math
import random
from collections import deque

import pytest

from clarus_async.config import PacingPolicy
from clarus_async.policy.pacing import Pace, PaceSource
from clarus_async.ratelimit.headers import Told
from clarus_async.simulator.limiters import FixedWindow, SlidingLog, Unlimited, Verdict
from tests.zoo.runner import Client, play
from tests.zoo.worlds import plain

HOUR = 3600.0


def new(**policy):
    return Pace(PacingPolicy(**policy))


def rush(pace, now, callers=64):
    """Let callers ask at one moment; return the requests that went out."""
    sent = []
    while len(sent) < callers and pace.ask(now) == 0.0:
        sent.append(pace.send(now))
    return sent


def flood(pace, since, until, hear=None, *, latency=0.02, width=64):
    """Send whatever may go, until a moment; return when each went out.

    Args:
        pace: of the tenant.
        since: when to begin.
        until: when to end; what is under way is still heard of.
        hear: is called with each request and the time, when its answer comes.
        latency: of each answer.
        width: requests under way at the most.
    """
    hear = hear or pace.answered
    out, times, now = deque(), [], since
    while now < until or out:
        wait = pace.ask(now) if now < until and len(out) < width else None
        if wait == 0.0:
            times.append(now)
            out.append((now + latency, pace.send(now)))
            continue
        turn = min(until, math.inf if wait is None else now + max(wait, 1e-9))
        if out and out[0][0] <= (turn if now < until else math.inf):
            now, sent = out.popleft()
            hear(sent, now)
        else:
            assert turn > now, "somebody waits, and nothing is under way"
            now = turn
    return times


def steady(pace, per_second, seconds, since=0.0):
    """Send evenly, each being answered before the next; return the moment after."""
    for n in range(per_second * seconds):
        at = since + n / per_second
        assert pace.ask(at) == 0.0
        pace.answered(pace.send(at), at)
    return since + seconds


def most_in(times, window):
    """The most in any window."""
    most = since = 0
    for until, at in enumerate(times):
        while times[since] <= at - window:
            since += 1
        most = max(most, until - since + 1)
    return most


def excess(times, rate):
    """The most by which any interval holds more than its length times a rate."""
    most, least = 0.0, math.inf
    for n, at in enumerate(times):
        least = min(least, n - rate * at)
        most = max(most, n + 1 - rate * at - least)
    return most


def learned(per_second=50, at=10.0):
    """A pace that met a limit after a second's traffic, and all of whose answers have come."""
    pace = new()
    now = steady(pace, per_second, 1, at - 1.0) - 0.5 / per_second
    pace.refused(pace.send(now), now, None)
    return pace


def walled(retry_after=5.0, at=10.0):
    """A pace whose first request was refused, with a Retry-After."""
    pace = new()
    pace.refused(pace.send(at - 1.0), at, retry_after)
    return pace


# At first, and the quick start.


def test_a_tenant_is_open_to_begin_with():
    pace = new()

    assert (pace.ask(0.0), pace.pause(0.0), pace.rate, pace.under_way) == (0.0, 0.0, None, 0)
    assert pace.source is PaceSource.NONE


def test_few_go_at_once_from_cold():
    pace = new()
    sent = [one for ms in range(1_000) for one in rush(pace, ms / 1000)]

    assert 2 <= len(sent) <= 5
    assert pace.ask(1.0) == pytest.approx(1.0 - (1.0 - sent[-1].at))


def test_whoever_hears_nothing_sends_one_a_second():
    times = flood(new(), 0.0, 60.0, latency=100.0)

    assert 55 <= len(times) <= 65
    assert most_in(times[5:], 0.99) == 1


def test_one_slow_answer_holds_nothing_up():
    pace = new()
    slow = pace.send(0.0)
    times = flood(pace, 0.0, 2.0)

    assert len(times) > 100
    pace.lost(slow)


def test_whoever_meets_a_wall_from_cold_has_few_refusals_of_it():
    it = Client(new(), 10**9)
    play(plain(FixedWindow(0, 1.0), 0.05, 0), [it], until=1.0)

    assert it.sent <= 12
    assert it.admitted == []


def test_the_window_opens_with_answers():
    pace = new()
    rates = [len(flood(pace, since, since + 0.3, width=500)) for since in (0.0, 0.3, 0.6)]

    assert 1.5 * rates[0] < rates[1]
    assert 1.5 * rates[1] < rates[2]
    assert len(rush(pace, 1.0)) > 5


def test_an_answer_lets_the_next_one_go():
    pace = new()
    sent = [one for ms in range(1_000) for one in rush(pace, ms / 1000)]
    pace.answered(sent[0], 1.0)

    assert pace.ask(1.0) == 0.0


def test_a_request_that_is_lost_lets_the_next_one_go():
    pace = new()
    sent = [one for ms in range(1_000) for one in rush(pace, ms / 1000)]
    pace.lost(sent[0])

    assert pace.ask(1.0) == 0.0


def test_a_pause_of_traffic_in_the_quick_start_banks_no_permission():
    pace = new()
    now = steady(pace, 30, 5)

    assert len(rush(pace, now + HOUR)) <= 30 + 1


def test_a_pause_of_traffic_in_the_quick_start_makes_it_no_faster():
    busy, paused = new(), new()
    for pace in (busy, paused):
        steady(pace, 30, 5)
    during, after = flood(busy, 5.0, 5.2), flood(paused, HOUR, HOUR + 0.2)

    assert len(after) <= len(during) + 30


def test_a_start_is_where_the_rate_begins():
    sent = flood(new(start=200.0), 0.0, 0.1, latency=9.0)

    assert 18 <= len(sent) <= 24


def test_with_a_start_there_is_no_window():
    assert len(flood(new(start=1_000.0), 0.0, 0.05, latency=9.0)) > 40


def test_without_limits_the_rate_grows_as_long_as_answers_come():
    it = Client(new(), 20_000)

    assert play(plain(Unlimited(), 0.02, 0), [it]).seconds < 10.0
    assert it.pacer.rate is None


# What is learned.


def test_the_first_refusal_makes_the_limit_what_was_admitted_in_the_second_before():
    pace = learned(50)

    assert 48.0 <= pace.rate <= 50.0
    assert pace.source is PaceSource.LEARNED


@pytest.mark.parametrize("per_second", [3, 10, 100])
def test_a_limit_is_found_whatever_it_is(per_second):
    pace = learned(per_second)

    assert 0.97 * per_second <= pace.rate <= per_second


def test_in_the_second_after_the_first_refusal_no_second_holds_more_than_the_limit():
    pace = new()
    for at in [*(9.0 + n / 50 for n in range(5)), *(9.8 + n / 250 for n in range(45))]:
        pace.answered(pace.send(at), at + 0.02)
    pace.refused(pace.send(9.985), 10.005, None)
    times = flood(pace, 10.005, 10.79)

    assert 4 <= len(times) <= 5 + 1
    assert pace.ask(10.79) > 0.0


def test_what_is_under_way_at_the_first_refusal_counts_when_it_is_admitted():
    pace = new()
    now = steady(pace, 50, 1)
    late, refused = pace.send(now), pace.send(now + 0.001)
    pace.refused(refused, now + 0.01, None)
    before = pace.rate
    pace.answered(late, now + 0.02)

    assert pace.rate == pytest.approx(before * 51 / 50, rel=0.01)


def under_way(count, *, pace=None):
    """A pace in the quick start, after a second's traffic, with some requests under way; sent one after another."""
    pace = pace or new()
    now = steady(pace, 50, 1)
    return pace, [pace.send(now + n / 100) for n in range(count)]


@pytest.mark.parametrize("first", [0, 1, 2])
def test_a_refusal_is_taken_back_once_all_that_were_sent_after_it_are_admitted(first):
    pace, sent = under_way(3 + first)
    pace.refused(sent[first], 1.1, None)
    sources = [pace.source]
    for one in [*sent[:first], *sent[first + 1 :]]:
        pace.answered(one, 1.11)
        sources.append(pace.source)

    assert sources == [PaceSource.LEARNED] * (2 + first) + [PaceSource.NONE]
    assert (pace.rate, pace.pause(1.11), pace.ask(1.11)) == (None, 0.0, 0.0)
    assert len(flood(pace, 1.11, 2.11)) > 100


def test_after_one_that_was_taken_back_the_next_refusal_is_the_first():
    pace, sent = under_way(3)
    pace.refused(sent[0], 1.1, None)
    for one in sent[1:]:
        pace.answered(one, 1.11)
    now = steady(pace, 50, 1, since=2.0)
    pace.refused(pace.send(now), now + 0.02, None)

    assert pace.source is PaceSource.LEARNED
    assert pace.rate == pytest.approx(50.0, rel=0.05)


def test_one_witness_takes_a_refusal_back():
    pace, sent = under_way(2)
    pace.refused(sent[0], 1.1, None)
    pace.answered(sent[1], 1.11)

    assert pace.source is PaceSource.NONE


def test_those_that_were_sent_before_a_refused_request_are_no_witnesses():
    pace, sent = under_way(5)
    pace.refused(sent[4], 1.1, None)
    for one in sent[:4]:
        pace.answered(one, 1.11)

    assert pace.source is PaceSource.LEARNED


def test_those_that_were_sent_after_its_answer_are_no_witnesses():
    pace, sent = under_way(1)
    pace.refused(sent[0], 1.1, None)
    flood(pace, 1.1, 9.0)

    assert pace.source is PaceSource.LEARNED


def test_a_refusal_is_not_taken_back_while_another_that_was_under_way_is_not_heard_of():
    pace, sent = under_way(4)
    pace.refused(sent[0], 1.1, None)
    for one in sent[1:3]:
        pace.answered(one, 1.11)

    assert pace.source is PaceSource.LEARNED
    pace.answered(sent[3], 1.2)
    assert pace.source is PaceSource.NONE


def test_a_second_refusal_among_those_that_were_sent_after_the_first_confirms_it():
    pace, sent = under_way(6)
    pace.refused(sent[0], 1.1, None)
    pace.refused(sent[2], 1.1, None)
    for one in (sent[1], *sent[3:]):
        pace.answered(one, 1.11)

    assert pace.source is PaceSource.LEARNED


def test_a_long_retry_after_holds_whatever_else_was_admitted():
    pace, sent = under_way(4)
    pace.refused(sent[0], 1.1, 30.0)
    for one in sent[1:]:
        pace.answered(one, 1.11)

    assert pace.ask(1.11) > 29.0
    assert len(rush(pace, 40.0)) == 1


def test_the_floor_of_a_refusal_that_is_taken_back_stays():
    pace, sent = under_way(4)
    pace.refused(sent[0], 1.1, 1.0)
    for one in sent[1:]:
        pace.answered(one, 1.11)

    assert pace.source is PaceSource.NONE
    assert pace.ask(1.11) == pytest.approx(0.99)


def test_a_refusal_with_a_retry_after_of_less_than_a_second_is_a_moment_s_trouble():
    pace, sent = under_way(3)
    for one in sent:
        pace.refused(one, 1.1, 0.5)

    assert pace.source is PaceSource.NONE
    assert pace.ask(1.1) == pytest.approx(0.5)
    assert len(flood(pace, 1.6, 2.6)) > 50


@pytest.mark.parametrize(("answers", "source"), [(19, PaceSource.LEARNED), (20, PaceSource.NONE)])
def test_it_is_a_limit_where_few_were_answered_since_the_last_one(answers, source):
    pace, [sent] = under_way(1)
    pace.refused(sent, 1.1, 0.5)
    for n in range(answers):
        at = 2.0 + n / 50
        pace.answered(pace.send(at), at)
    pace.refused(pace.send(3.0), 3.02, 0.5)

    assert pace.source is source


class Stray(Unlimited):
    """Admits all but some.

    Args:
        refuses: is asked of each request by its number.
    """

    def __init__(self, refuses):
        self.refuses = refuses
        self.numbers = itertools.count(1)

    def take(self, _now):
        return Verdict(not self.refuses(next(self.numbers)), 0, 0.0, 0.0)


@pytest.mark.parametrize("latency", [0.02, 0.15])
@pytest.mark.parametrize("number", [13, 25, 37, 49])
def test_one_stray_refusal_without_a_limit_slows_no_cold_job(number, latency):
    calm, stray = Client(new(), 300), Client(new(), 300)
    without = play(plain(Unlimited(), latency, 0), [calm]).seconds
    seconds = play(plain(Stray(lambda n: n == number), latency, 0), [stray]).seconds

    assert stray.pacer.source is PaceSource.NONE
    assert seconds <= 1.2 * without + latency


@pytest.mark.parametrize("number", [1, 7])
def test_one_of_the_first_does_not_either(number):
    stray = Client(new(), 300)
    seconds = play(plain(Stray(lambda n: n == number), 0.02, 0), [stray]).seconds

    assert stray.pacer.source is PaceSource.NONE
    assert seconds <= 2.0


def test_two_stray_refusals_in_a_hundred_slow_a_cold_job_little():
    clients, seconds = [], []
    for seed in range(4):
        draw = random.Random(seed).random
        clients.append(Client(new(), 1_000))
        seconds.append(play(plain(Stray(lambda _, draw=draw: draw() < 0.02), 0.02, seed), [clients[-1]]).seconds)

    assert sorted(seconds)[2] <= 2.0
    assert max(seconds) <= 15.0


class Noting(Pace):
    """Notes where its rate came from after each answer."""

    def __init__(self):
        super().__init__(PacingPolicy())
        self.sources = []

    def answered(self, sent, now, told=None):
        super().answered(sent, now, told)
        self.sources.append(self.source)


@pytest.mark.parametrize("latency", [0.002, 0.02, 0.15])
@pytest.mark.parametrize("limit", [10, 50, 200])
def test_a_limit_that_there_is_is_not_taken_back(limit, latency):
    it = Client(Noting(), 5 * limit)
    play(plain(SlidingLog(limit, 1.0), latency, 0), [it])
    learned_at = it.pacer.sources.index(PaceSource.LEARNED)

    assert set(it.pacer.sources[learned_at:]) == {PaceSource.LEARNED}


def test_where_plenty_was_admitted_nothing_is_held_back_before_a_refusal():
    pace = new()
    flood(pace, 0.0, 2.0, width=500)

    assert pace.rate is None
    assert len(rush(pace, 2.02, callers=2_000)) == 2_000


def test_then_a_refusal_limits_it_like_any_first_one():
    pace = new()
    times = flood(pace, 0.0, 2.0, latency=0.01, width=500)
    sent = rush(pace, 2.01, callers=10)
    pace.refused(sent[0], 2.03, None)

    assert pace.source is PaceSource.LEARNED
    assert 300 < pace.rate <= most_in(times, 1.0)
    assert pace.ask(2.03) > 0.0


def test_then_what_the_server_tells_limits_it_too():
    pace = new()
    flood(pace, 0.0, 2.0, width=500)
    pace.answered(pace.send(2.1), 2.12, Told(None, None, 0, 10.0))

    assert len(rush(pace, 2.2)) == 1
    assert pace.ask(2.2) == pytest.approx(9.92)


def test_then_retry_after_is_a_floor_too():
    pace = new()
    flood(pace, 0.0, 2.0, width=500)
    pace.refused(pace.send(2.1), 2.12, 30.0)

    assert pace.ask(2.12) == pytest.approx(30.0)


def test_a_refusal_lowers_the_rate_by_no_more_than_half():
    pace = learned(50)
    flood(pace, 11.0, 14.0)
    before, now = pace.rate, 14.0 + HOUR
    pace.refused(pace.send(now), now + 0.02, None)

    assert 0.48 * before <= pace.rate <= 0.5 * before


def test_a_refusal_cuts_the_rate_and_time_that_is_used_brings_it_back():
    pace = learned(50)
    now = 11.0
    flood(pace, now, now + 3.0)
    sent = pace.send(now + 3.0)
    before = pace.rate
    pace.refused(sent, now + 3.02, None)
    cut = pace.rate
    flood(pace, now + 3.1, now + 30.0)

    assert 0.75 * before < cut < before
    assert pace.rate > before


def test_there_is_one_cut_for_all_that_had_been_sent_before_it():
    pace = learned(50)
    flood(pace, 11.0, 14.0)
    sent = [pace.send(14.0 + n / 50) for n in range(4)]
    pace.refused(sent[0], 14.1, None)
    seen = (pace.rate, pace.ask(14.2), pace.pause(14.2))
    for late in sent[1:]:
        pace.refused(late, 14.2, None)

    assert (pace.rate, pace.ask(14.2), pace.pause(14.2)) == seen


def test_what_was_sent_at_the_moment_of_a_cut_was_sent_before_it():
    pace = learned(50)
    flood(pace, 11.0, 14.0)
    first, second = pace.send(14.0), pace.send(14.1)
    pace.refused(first, 14.1, None)
    seen = (pace.rate, pace.ask(14.2), pace.pause(14.2))
    pace.refused(second, 14.2, None)

    assert (pace.rate, pace.ask(14.2), pace.pause(14.2)) == seen


def test_what_was_sent_since_a_cut_and_is_refused_is_a_new_one_once_another_was_admitted():
    pace = learned(50)
    flood(pace, 11.0, 14.0)
    rates = [pace.rate]
    for now in (14.0, 15.0):
        flood(pace, now, now + 0.5)
        pace.refused(pace.send(now + 0.8), now + 0.82, None)
        rates.append(pace.rate)

    assert rates[0] > rates[1] > rates[2]
    assert pace.pause(16.0) == 0.0


def test_a_pause_of_traffic_banks_no_more_than_a_tenth_of_a_second_of_what_was_learned():
    pace = learned(50)
    flood(pace, 11.0, 14.0)

    assert 1 <= len(rush(pace, 14.0 + HOUR)) <= 0.1 * pace.rate + 1


def test_a_pause_of_traffic_makes_no_rate_faster_that_was_learned():
    busy, paused = learned(50), learned(50)
    for pace in (busy, paused):
        flood(pace, 11.0, 13.0)
    during, after = flood(busy, 13.0, 14.0), flood(paused, HOUR, HOUR + 1.0)

    assert abs(len(after) - len(during)) <= 1
    assert most_in(after, 0.1) <= 2 * 0.1 * paused.rate + 1


def test_a_loops_late_timers_cost_no_pace():
    pace = learned(100)
    late = flood(pace, 11.0, 12.0, latency=0.001)
    ideal = pace.rate
    pace = learned(100)
    sent, now = 0, 11.0
    while now < 12.0:
        wait = pace.ask(now)
        if wait == 0.0:
            pace.answered(pace.send(now), now)
            sent += 1
        now += 0.002 + (wait or 0.0)

    assert sent >= 0.97 * len(late)
    assert pace.rate == pytest.approx(ideal, rel=0.02)


# Retry-After.


def test_retry_after_is_a_floor_for_everybody():
    pace = walled(5.0)

    assert (pace.ask(10.0), pace.ask(14.0), pace.pause(12.0)) == (5.0, 1.0, 3.0)
    assert pace.ask(15.0) == 0.0


def test_a_short_one_is_a_floor_too_and_no_wall():
    pace = new()
    now = steady(pace, 50, 2)
    pace.refused(pace.send(now), now, 1.0)

    assert pace.ask(now) == 1.0
    assert len(flood(pace, now + 1.0, now + 2.0)) > 30


def test_a_later_one_prolongs():
    pace = new()
    first, second = pace.send(9.0), pace.send(9.5)
    pace.refused(first, 10.0, 5.0)
    pace.refused(second, 11.0, 30.0)

    assert pace.ask(11.0) == 30.0


def test_an_earlier_one_takes_nothing_back():
    pace = new()
    first, second = pace.send(9.0), pace.send(9.5)
    pace.refused(first, 10.0, 30.0)
    pace.refused(second, 11.0, 1.0)

    assert pace.ask(11.0) == 29.0


def test_a_hostile_one_is_kept_for_an_hour_and_then_one_probe_goes():
    pace = walled(1e18)

    assert pace.ask(10.0) == HOUR
    assert len(rush(pace, 10.0 + HOUR)) == 1
    assert pace.ask(10.0 + 2 * HOUR) is None


@pytest.mark.parametrize("width", [1, 64])
@pytest.mark.parametrize("retry_after", [0.0, None])
def test_whoever_is_always_refused_is_asked_less_and_less(retry_after, width):
    pace = new()
    times = flood(pace, 0.0, 60.0, lambda sent, now: pace.refused(sent, now, retry_after), width=width)

    assert len(times) <= 45
    assert len([at for at in times if at > 30.0]) <= 11


def test_where_a_refusal_costs_silence_the_limit_is_tried_more_rarely():
    rates = []
    for retry_after in (None, 1.0):
        pace = learned(50)
        flood(pace, 11.0, 14.0)
        sent = pace.send(14.0)
        pace.refused(sent, 14.02, retry_after)
        flood(pace, 15.1, 25.0)
        rates.append(pace.rate)

    assert rates[0] > rates[1]


# Walls and probes.


def test_probes_go_one_at_a_time():
    pace = walled()

    assert len(rush(pace, 15.0)) == 1
    assert pace.ask(15.0) is None
    assert pace.ask(HOUR) is None


def test_a_probe_that_is_answered_opens_the_tenant():
    pace = walled()
    pace.answered(pace.send(15.0), 15.1)

    assert len(flood(pace, 15.1, 25.0)) >= 2
    assert pace.pause(25.0) == 0.0


def test_a_probe_that_is_lost_makes_the_next_caller_the_probe():
    pace = walled()
    pace.lost(pace.send(15.0))

    assert len(rush(pace, 15.0)) == 1
    assert pace.ask(16.0) is None


def test_a_probe_that_is_refused_makes_the_next_later():
    pace = walled()
    waits, now = [], 15.0
    for _ in range(12):
        waits.append(pace.ask(now))
        now += waits[-1]
        pace.refused(pace.send(now), now + 0.02, None)
        now += 0.02

    assert all(after >= before - 1e-9 for before, after in itertools.pairwise(waits))
    assert waits[-1] > 2.0
    assert pace.pause(now) == pace.ask(now)


def test_while_a_probe_is_out_only_a_floor_is_a_pause():
    pace = walled()
    first = pace.send(15.0)

    assert pace.pause(15.0) == 0.0
    pace.refused(first, 15.1, None)
    assert pace.pause(15.1) > 0.0


def test_two_refusals_with_no_answer_between_them_are_a_wall():
    pace = learned(50)
    flood(pace, 11.0, 14.0)
    pace.refused(pace.send(14.0), 14.02, None)
    now = 14.02 + (pace.ask(14.02) or 0.0)
    pace.refused(pace.send(now), now + 0.02, None)
    now += 0.02
    now += pace.ask(now) or 0.0

    assert len(rush(pace, now)) == 1
    assert pace.ask(now + 9.0) is None


def test_six_refusals_in_a_row_are_a_wall():
    pace = learned(50)
    flood(pace, 11.0, 14.0)
    sent = [pace.send(14.0 + n / 100) for n in range(7)]
    for one in sent:
        pace.refused(one, 14.1, None)
    now = 14.1 + pace.ask(14.1)

    assert len(rush(pace, now)) == 1
    assert pace.ask(now) is None


def test_six_refusals_with_an_answer_among_them_are_none():
    pace = learned(50)
    flood(pace, 11.0, 14.0)
    sent = [pace.send(14.0 + n / 100) for n in range(8)]
    for n, one in enumerate(sent):
        if n == 4:
            pace.answered(one, 14.1)
        else:
            pace.refused(one, 14.1, None)

    assert pace.pause(14.1) == 0.0


@pytest.mark.parametrize("late", ["answered", "refused"])
def test_what_is_heard_late_neither_ends_nor_prolongs_a_wall_without_a_floor(late):
    pace = learned(50)
    flood(pace, 11.0, 14.0)
    sent = [pace.send(14.0 + n / 100) for n in range(8)]
    for one in sent[:7]:
        pace.refused(one, 14.1, None)
    due = 14.1 + pace.pause(14.1)
    if late == "answered":
        pace.answered(sent[7], 14.11)
    else:
        pace.refused(sent[7], 14.11, None)

    assert 14.11 + pace.pause(14.11) == pytest.approx(due)
    assert len(rush(pace, due)) == 1


def test_an_answer_to_a_request_from_before_a_wall_does_not_end_it():
    pace = new()
    first, second = pace.send(9.0), pace.send(9.5)
    pace.refused(first, 10.0, 5.0)
    pace.answered(second, 11.0)

    assert pace.ask(11.0) == 4.0
    assert len(rush(pace, 15.0)) == 1


def test_a_refusal_of_a_request_from_before_a_wall_does_not_prolong_it():
    pace = new()
    sent = [pace.send(9.0 + n / 10) for n in range(8)]
    pace.refused(sent[0], 10.0, 5.0)
    for late in sent[1:]:
        pace.refused(late, 11.0, None)

    assert pace.ask(11.0) == 4.0
    assert len(rush(pace, 15.0)) == 1


def test_a_refusal_of_a_request_from_before_a_wall_changes_nothing_once_it_is_over():
    pace = new()
    first, late = pace.send(9.0), pace.send(9.5)
    pace.refused(first, 10.0, 5.0)
    pace.answered(pace.send(15.0), 15.1)
    seen = (pace.rate, pace.ask(15.2), pace.pause(15.2))
    pace.refused(late, 15.2, None)

    assert (pace.rate, pace.ask(15.2), pace.pause(15.2)) == seen


def test_a_floor_that_comes_while_a_probe_is_out_holds_after_its_answer():
    pace = new()
    first, late = pace.send(9.0), pace.send(9.5)
    pace.refused(first, 10.0, 5.0)
    probe = pace.send(15.0)
    pace.refused(late, 15.5, 60.0)
    pace.answered(probe, 16.0)

    assert pace.ask(16.0) == pytest.approx(59.5)


def test_what_a_wall_betrays_of_a_long_window_saves_refusals_of_the_later_ones():
    it = Client(new(), 2_300)
    play(plain(FixedWindow(600, 60.0), 0.02, 0, unix=1.8e9), [it])
    refusals = [sum(60.0 * n <= at < 60.0 * (n + 1) for at in it.refused) for n in range(3)]

    assert refusals[2] < refusals[0]


def test_a_rate_is_learned_from_a_long_window():
    it = Client(new(), 1_900)
    play(plain(FixedWindow(600, 60.0), 0.02, 0, unix=1.8e9), [it])

    assert it.pacer.rate == pytest.approx(10.0, rel=0.15)


def spend(pace, now, requests, retry_after=60.0):
    """Have some admitted, one refused with a Retry-After, and the probe after that admitted; return its moment."""
    for _ in range(requests):
        now += pace.ask(now)
        pace.answered(pace.send(now), now)
    now += pace.ask(now)
    pace.refused(pace.send(now), now, retry_after)
    now += pace.ask(now)
    pace.answered(pace.send(now), now)
    return now


def test_a_wall_after_little_traffic_tells_of_no_rate():
    pace = new()
    spend(pace, 0.0, 15)

    assert pace.rate is None


def test_two_pauses_with_one_request_between_them_make_no_rate_of_that():
    pace = new()
    now = spend(pace, 0.0, 15)
    spend(pace, now, 0)

    assert pace.rate is None


def test_a_wall_after_much_traffic_tells_the_rate():
    pace = new()
    spend(pace, 0.0, 120)

    assert pace.rate == pytest.approx(2.0, rel=0.1)


def test_a_wall_after_an_idle_hour_lowers_the_rate_by_half_at_the_most():
    pace = learned(50)
    flood(pace, 11.0, 14.0)
    before = pace.rate
    spend(pace, 14.0 + HOUR, 0)

    assert pace.rate >= 0.45 * before


# A quota that the server tells.


def tell(pace, *told):
    """Answer a first request with what it tells of the rate limit, at 1 s."""
    for one in told:
        pace.answered(pace.send(1.0), 1.0, Told(*one))
    return pace


@pytest.mark.parametrize(("limit", "window"), [(50, 1.0), (600, 60.0), (10, 1.0), (100, 3600.0)])
def test_a_quota_that_is_told_is_kept_as_quota_by_window(limit, window):
    pace = tell(new(), (limit, window, limit - 1, window))

    assert pace.source is PaceSource.TOLD
    assert 0.98 * limit / window <= pace.rate <= limit / window


@pytest.mark.parametrize(
    ("limit", "window"),
    [(1, 1.0), (10, 1.0), (50, 1.0), (1_000, 1.0), (300, 3.0), (60, 60.0), (1, 60.0)],
)
def test_a_quota_that_is_told_is_exceeded_in_no_window(limit, window):
    told = Told(limit, window, limit, window)
    pace = tell(new(), told)
    times = flood(pace, 1.0, 1.0 + 5.0 * window, lambda sent, now: pace.answered(sent, now, told))

    assert most_in([1.0, *times], window) <= limit
    assert len(times) >= 0.95 * 5 * limit - 1


def test_half_the_quota_told_halves_the_rate_at_once():
    pace = new()
    flood(pace, 0.0, 3.0, lambda sent, now: pace.answered(sent, now, Told(50, 1.0, 10, 1.0)))
    before = pace.rate
    half = lambda sent, now: pace.answered(sent, now, Told(25, 1.0, 10, 1.0))  # noqa: E731
    half(pace.send(3.1), 3.12)

    assert pace.rate == pytest.approx(before / 2, rel=0.01)
    assert most_in(flood(pace, 3.12, 6.0, half), 1.0) <= 25


def test_twice_the_quota_told_doubles_the_rate_at_once():
    pace = tell(new(), (50, 1.0, 10, 1.0), (100, 1.0, 10, 1.0))

    assert pace.rate == pytest.approx(99.0, rel=0.02)


def test_the_same_quota_told_again_begins_nothing_anew():
    pace = new()
    told = Told(50, 1.0, 10, 1.0)
    flood(pace, 0.0, 3.0, lambda sent, now: pace.answered(sent, now, told))
    pace.refused(pace.send(3.0), 3.02, None, told)
    cut = pace.rate
    pace.answered(pace.send(3.1), 3.12, told)

    assert cut < 49.0
    assert pace.rate == pytest.approx(cut, rel=0.02)


def test_no_quota_that_is_told_is_exceeded_however_long_nobody_refuses():
    pace = new()
    told = Told(50, 1.0, 10, 1.0)
    flood(pace, 0.0, 100.0, lambda sent, now: pace.answered(sent, now, told))

    assert pace.rate <= 50.0


@pytest.mark.parametrize(
    ("limit", "reset", "rate"), [(50, 1.0, 50.0), (50, 2.0, 50.0), (50, 0.0, 50.0), (600, 60.0, 10.0)]
)
def test_where_only_a_reset_is_told_it_is_the_window(limit, reset, rate):
    pace = tell(new(), (limit, None, limit - 1, reset))

    assert pace.source is PaceSource.TOLD
    assert pace.rate == pytest.approx(rate, rel=0.02)


def test_the_longest_reset_that_was_seen_is_the_window():
    pace = tell(new(), (600, None, 599, 20.0), (600, None, 300, 60.0), (600, None, 200, 40.0))

    assert pace.rate == pytest.approx(10.0, rel=0.02)


def test_a_guess_at_the_window_is_worth_less_than_what_was_learned():
    pace = learned(50)
    pace.answered(pace.send(11.0), 11.0, Told(600, None, 599, 60.0))

    assert pace.source is PaceSource.LEARNED
    assert pace.rate > 40.0


def test_a_rate_does_not_grow_while_its_quota_is_in_full_use():
    rates = []
    for remaining in (40, 0):
        pace = learned(50)
        told = Told(50, None, remaining, 1.0)
        flood(pace, 11.0, 30.0, lambda sent, now, told=told, pace=pace: pace.answered(sent, now, told))
        rates.append(pace.rate)

    assert rates[0] > rates[1]
    assert rates[1] <= 51.0


def test_a_limit_alone_is_no_rate():
    pace = tell(new(), (50, None, 49, None))

    assert (pace.source, pace.rate) == (PaceSource.NONE, None)


def test_where_nothing_remains_one_goes_at_a_time():
    pace = tell(new(), (None, None, 0, 10.0))

    assert len(rush(pace, 1.5)) == 1
    assert pace.ask(2.0) == pytest.approx(9.0)


def test_no_more_go_than_remain():
    pace = tell(new(), (None, None, 2, 10.0))

    assert len(flood(pace, 1.5, 2.5, latency=9.0)) == 2


@pytest.mark.parametrize(("reset", "until"), [(10.0, 11.0), (None, 2.0)])
def test_that_nothing_remains_is_forgotten_after_the_reset(reset, until):
    pace = tell(new(), (None, None, 0, reset))
    sent = pace.send(1.5)

    assert pace.ask(until - 0.01) == pytest.approx(0.01)
    assert pace.ask(until) == 0.0
    pace.lost(sent)


def test_a_refusal_tells_the_quota_too():
    pace = new()
    pace.refused(pace.send(1.0), 1.02, None, Told(50, 1.0, 0, 1.0))

    assert pace.source is PaceSource.TOLD
    assert pace.rate <= 50.0


# A rate that the caller gives.


LIES = [None, Told(10_000, 1.0, 10_000, 1.0), Told(1, HOUR, 0, HOUR), Told(10**9, None, 0, 0.0)]


@pytest.mark.parametrize("told", LIES)
@pytest.mark.parametrize(("rate", "burst"), [(0.5, 1), (10.0, 1), (10.0, 20), (150.0, 1), (150.0, 5)])
def test_a_given_rate_is_exceeded_in_no_interval_whatever_is_told(rate, burst, told):
    pace = new(rate=rate, burst=burst)
    hear = lambda sent, now: pace.answered(sent, now, told)  # noqa: E731
    times = [*flood(pace, 0.0, 20.0, hear), *flood(pace, HOUR, HOUR + 20.0, hear)]

    assert excess(times, rate) <= burst + 1
    assert len(times) >= 0.97 * 2 * 20 * rate
    assert pace.source is PaceSource.GIVEN
    assert pace.rate == rate


def test_a_given_rate_is_not_exceeded_after_refusals_either():
    pace = new(rate=40.0, burst=1)
    heard = 0

    def hear(sent, now):
        nonlocal heard
        heard += 1
        if heard % 50:
            pace.answered(sent, now)
        else:
            pace.refused(sent, now, None)

    times = flood(pace, 0.0, 60.0, hear)

    assert excess(times, 40.0) <= 2 + 1
    assert pace.rate <= 40.0


@pytest.mark.parametrize("rate", [0.1, 0.2])
def test_a_given_rate_is_not_exceeded_by_probes_either(rate):
    pace = new(rate=rate)
    times = flood(pace, 0.0, 120.0, lambda sent, now: pace.refused(sent, now, None))

    assert excess(times, rate) <= 1 + 1


@pytest.mark.parametrize("rate", [1_000.0, 10_000.0])
def test_a_high_given_rate_is_not_exceeded_at_once_after_a_pause(rate):
    pace = new(rate=rate, burst=1)
    steady(pace, 10, 1)

    assert len(rush(pace, HOUR)) <= 2


@pytest.mark.parametrize("burst", [1, 2, 20])
def test_a_burst_may_go_at_once_after_a_pause(burst):
    pace = new(rate=10.0, burst=burst)
    at_once = [len(rush(pace, now)) for now in (100.0, 100.01, HOUR)]

    assert at_once == [burst, 0, burst]


def test_with_a_burst_of_one_one_goes_at_a_time():
    pace = new(rate=50.0, burst=1)
    steady(pace, 10, 1)

    assert len(rush(pace, HOUR)) == 1
    assert pace.ask(HOUR) == pytest.approx(0.02, abs=0.006)


@pytest.mark.parametrize("rate", [0.5, 10.0, 50.0, 1_000.0])
def test_without_a_burst_a_tenth_of_a_second_s_worth_goes_at_once_after_an_idle_hour(rate):
    pace = new(rate=rate)
    now = 0.0
    for _ in range(10):
        now += pace.ask(now)
        pace.answered(pace.send(now), now)

    assert len(rush(pace, now + HOUR, callers=500)) <= 0.1 * rate + 1


@pytest.mark.parametrize("rate", [0.5, 7.5, 10.0, 50.0, 150.0])
def test_without_a_burst_no_second_holds_more_than_a_given_rate(rate):
    pace = new(rate=rate)
    times = [*flood(pace, 0.0, 20.0), *flood(pace, HOUR, HOUR + 20.0)]

    assert most_in(times, 1.0) <= math.ceil(rate)
    assert excess(times, rate) <= 0.1 * rate + 1 + 1


def test_a_refusal_lowers_a_given_rate_and_it_comes_back_but_no_higher():
    pace = new(rate=40.0)
    flood(pace, 0.0, 3.0)
    pace.refused(pace.send(3.0), 3.02, None)
    cut = pace.rate
    flood(pace, 3.1, 120.0)

    assert 30.0 < cut < 40.0
    assert pace.rate == 40.0
    assert pace.source is PaceSource.GIVEN


def test_retry_after_is_a_floor_under_a_given_rate_too():
    pace = new(rate=40.0, burst=10)
    pace.refused(pace.send(1.0), 1.0, 30.0)

    assert pace.ask(1.0) == 30.0
    assert len(rush(pace, 31.0)) == 1


# What can be seen.


def test_what_is_under_way_is_counted_once():
    pace = new()
    first, second, third = (pace.send(now) for now in (1.0, 1.1, 1.2))
    counts = [pace.under_way]
    for _ in range(2):
        pace.lost(first)
        counts.append(pace.under_way)
    pace.answered(second, 1.3)
    pace.lost(second)
    counts.append(pace.under_way)
    pace.refused(third, 1.4, None)
    pace.lost(third)

    assert [*counts, pace.under_way] == [3, 2, 2, 1, 0]


def test_the_next_slot_is_after_the_pause_and_after_the_last_one():
    free, slow, held = new(), new(rate=0.1), walled(30.0)
    slow.answered(slow.send(100.0), 100.0)

    assert free.slot(5.0) <= 0.0
    assert [slow.slot(now) for now in (100.0, 105.0)] == pytest.approx([10.0, 5.0], abs=0.1)
    assert held.slot(15.0) >= 25.0


def test_the_next_slot_in_a_pause_is_its_end():
    pace = walled(30.0)

    assert pace.slot(15.0) == pace.ask(15.0) == 25.0


def test_it_is_idle_since_the_last_request():
    pace = new()
    sent = pace.send(10.0)
    idle = [pace.idle(15.0)]
    pace.answered(sent, 15.0)

    assert [*idle, pace.idle(15.0), pace.idle(70.0)] == [0.0, 5.0, 60.0]


def test_it_is_not_idle_before_a_floor():
    pace = walled(30.0)

    assert pace.idle(39.0) == 0.0
    assert 3.0 < pace.idle(45.0) <= 5.0


def test_it_keeps_no_more_than_the_last_seconds_of_what_was_admitted():
    pace = new(rate=100.0)
    flood(pace, 0.0, 300.0)

    assert len(pace._admitted._at) <= 1_100


def test_one_slow_answer_does_not_make_a_told_rate_crawl():
    pace = new()
    told = Told(50, 1.0, 10, 1.0)
    flood(pace, 0.0, 3.0, lambda sent, now: pace.answered(sent, now, told))
    slow = pace.send(3.1)
    flood(pace, 3.2, 33.1, lambda sent, now: pace.answered(sent, now, told))
    pace.answered(slow, 33.1, told)

    assert pace.rate > 25.0


class TestGivenBack:
    """A request that does not go out after all."""

    def test_its_slot_is_the_next_ones_at_a_known_rate(self):
        pace = Pace(PacingPolicy(rate=1.0, burst=1))
        pace.send(10.0)
        sent = pace.send(11.0)
        assert pace.ask(11.1) > 0
        pace.unsent(sent)
        assert pace.ask(11.1) == 0.0
        pace.send(11.1)
        assert pace.ask(11.2) == pytest.approx(0.9, abs=0.11)

    def test_where_nothing_is_paced_there_is_nothing_to_give_back(self):
        pace = Pace(PacingPolicy())
        sent = pace.send(10.0)
        assert pace.under_way == 1
        pace.unsent(sent)
        assert pace.under_way == 0
        assert pace.ask(10.0) == 0.0


class TestForgotten:
    """What was taken for a limit, and is none."""

    def test_what_was_learned_is_forgotten(self):
        pace = Pace(PacingPolicy())
        for step in range(30):
            pace.answered(pace.send(step / 10), step / 10 + 0.05)
        pace.refused(pace.send(3.0), 3.01, None)
        assert pace.rate is not None
        pace.forget()
        assert (pace.rate, pace.source) == (None, PaceSource.NONE)

    def test_a_rate_that_is_given_is_not(self):
        pace = Pace(PacingPolicy(rate=5.0))
        pace.forget()
        assert pace.rate == 5.0
