"""When a tenant may send: what is given, what is advertised, and what is learned."""

import json
import math
import random

import pytest

from clarus_async.config import PacingPolicy
from clarus_async.ratelimit.headers import RateLimitHeaders
from clarus_async.ratelimit.limiter import AdaptiveRateLimiter
from clarus_async.ratelimit.pace import Limit, LimitKind, PaceSource
from clarus_async.simulator.limiters import (
    Connections,
    FirstRequestWindow,
    FixedWindow,
    NginxLimitReq,
    SlidingLog,
    TokenBucket,
)
from clarus_async.simulator.quota import Quota
from tests.support.limiters import Unlimited
from tests.zoo.runner import Client, Line, play, run
from tests.zoo.worlds import plain, world

HOUR = 3600.0
# A loop's clock begins anywhere: where the host came up, or with the epoch.
CLOCKS = pytest.mark.parametrize("start", [0.0, 59.9, 1.7e9])
RTT = 0.02


def new(**policy):
    return AdaptiveRateLimiter(PacingPolicy(**policy))


def rush(limiter, now, callers=64):
    """Let callers ask at one moment; return the requests that went out."""
    sent = []
    while len(sent) < callers and limiter.ask(now) == 0.0:
        sent.append(limiter.send(now))
    return sent


def steady(limiter, rate, seconds, since=0.0, *, headers=None):
    """Send evenly, as far as it is let, each being answered a round trip later; return the moment after."""
    now = since
    for _ in range(round(rate * seconds)):
        while wait := limiter.ask(now):
            now += wait
        limiter.answered(limiter.send(now), now + RTT, headers)
        now += 1.0 / rate
    return now


def refuse(limiter, now, retry_after=None, headers=None):
    """Send one as soon as it is let, and have it refused; return when."""
    while wait := limiter.ask(now):
        now += wait
    limiter.refused(limiter.send(now), now + RTT, retry_after, headers)
    return now + RTT


def job(
    limiter, jobs, limiter_of_server, *, start=0.0, rtt=RTT, quota=None, trace=None, width=64, until=math.inf, **more
):
    """Run a job, and return the client."""
    it = Client(limiter, jobs, width)
    its_world = plain(limiter_of_server, rtt, 1, quota=quota, **more)
    its_world.start = start
    play(its_world, [it], until=until, trace=trace)
    return it


def goodput(it, quota):
    return (len(it.admitted) - 1) / quota / it.admitted[-1]


def most_within(times, seconds):
    return max(sum(at <= other < at + seconds for other in times) for at in times)


# At first.


def test_nothing_limits_to_begin_with():
    limiter = new()

    assert (limiter.ask(0.0), limiter.pause(0.0), limiter.next_slot(0.0)) == (0.0, 0.0, 0.0)
    assert (limiter.rate, limiter.source, limiter.followed, limiter.limit) == (None, PaceSource.NONE, None, None)


def test_each_two_answers_let_one_more_go_up_to_sixteen():
    limiter = new()
    most = []
    for n in range(40):
        sent = rush(limiter, n / 10)
        most.append(len(limiter._out))
        limiter.answered(sent[0], n / 10 + 0.01)
        for one in sent[1:]:
            limiter.lost(one)

    assert most[:6] == [2, 3, 3, 4, 4, 5]
    assert most[-1] == 16


def test_beyond_no_more_are_in_flight_than_an_eighth_of_what_was_answered():
    limiter = new()
    steady(limiter, 400, 1)

    assert len(rush(limiter, 2.0)) == 50


def test_whoever_hears_nothing_sends_one_a_second():
    limiter = new()
    rush(limiter, 0.0)

    assert limiter.ask(0.25) == 0.75
    assert len(rush(limiter, 1.0)) == 1
    assert limiter.ask(1.0) == 1.0


def test_where_nothing_limits_a_job_is_soon_as_wide_as_its_client():
    it = job(new(), 5_000, Unlimited())

    assert it.refused == []
    assert it.admitted[-1] < 5_000 / 64 * RTT + 1.5
    assert it.pacer.source is PaceSource.NONE


def test_a_start_is_where_the_rate_begins_and_it_doubles_once_it_was_used_for_a_second():
    limiter = new(start=20.0)
    assert len(rush(limiter, 0.0)) <= 1 + 20 * 0.1
    steady(limiter, 20, 1, 0.5)

    assert limiter._rate >= 40.0
    assert limiter.rate is None


# Floors.


@CLOCKS
@pytest.mark.parametrize("policy", [{}, {"start": 10.0}, {"rate": 10.0}, {"rate": 10.0, "burst": 100}])
def test_retry_after_is_a_floor(policy, start):
    limiter = new(**policy)
    now = refuse(limiter, start, 7.5)

    assert limiter.ask(now) == pytest.approx(7.5)
    assert limiter.pause(now + 2.0) == pytest.approx(5.5)
    assert limiter.next_slot(now) >= 7.4999
    assert limiter.ask(now + 7.4) > 0.0
    assert limiter.ask(now + 7.6) == 0.0


@pytest.mark.parametrize(("seconds", "kept"), [(0.0, 0.0), (1e-9, 0.0), (HOUR, HOUR), (1e18, HOUR), (math.inf, HOUR)])
def test_whatever_a_server_says_it_is_an_hour_at_the_most(seconds, kept):
    limiter = new(rate=1e6)
    now = refuse(limiter, 0.0, seconds)

    assert limiter.pause(now) == pytest.approx(kept, abs=1e-6)


def test_a_shorter_floor_does_not_end_a_longer_one():
    limiter = new(rate=10.0)
    one, other = limiter.send(0.0), limiter.send(0.0)
    limiter.refused(one, 1.0, 10.0)
    limiter.refused(other, 2.0, 1.0)

    assert limiter.ask(2.0) == 9.0


def test_a_server_that_can_not_answer_is_left_alone():
    limiter = new()
    limiter.hold(30.0, 5.0)

    assert (limiter.ask(5.0), limiter.ask(35.0)) == (30.0, 0.0)
    assert limiter.source is PaceSource.NONE


def test_a_floor_of_ages_is_probed_after_an_hour():
    limiter = new()
    limiter.hold(1e30, 0.0)

    assert limiter.ask(0.0) == HOUR


# A rate that is given.


@CLOCKS
def test_a_given_rate_and_burst_are_kept_exactly(start):
    it = job(new(rate=20.0, burst=5), 205, Unlimited(), start=start, rtt=0.001)

    assert it.admitted[-1] == pytest.approx(10.0, abs=0.05)
    assert most_within(it.admitted, 0.01) == 5
    assert most_within(it.admitted, 1.0) <= 20 + 5


def test_without_a_burst_a_tenth_of_a_second_is_made_up_for():
    limiter = new(rate=50.0)
    rush(limiter, 0.0)

    assert len(rush(limiter, 100.0)) == 6


@CLOCKS
def test_a_stray_refusal_costs_a_given_rate_its_retry_after_only(start):
    limiter = new(rate=50.0, burst=2)
    now = refuse(limiter, steady(limiter, 50, 2, start), 1.0)
    resumed = steady(limiter, 50, 4, now)

    assert resumed - now == pytest.approx(1.0 + 4.0, abs=0.1)
    assert (limiter.rate, limiter.source) == (50.0, PaceSource.GIVEN)


def test_nothing_that_the_server_tells_changes_a_given_rate():
    limiter = new(rate=5.0)
    steady(limiter, 5, 2, headers=RateLimitHeaders(10**9, 1.0, 10**9, 1.0))
    refuse(limiter, 10.0, None, RateLimitHeaders(1, HOUR, 0, HOUR))
    limiter.forget()

    assert limiter.rate == 5.0
    assert limiter.limit == Limit(LimitKind.BUCKET)


def test_a_given_rate_is_one_of_which_all_is_known():
    assert new(rate=5.0, burst=3).limit == Limit(LimitKind.BUCKET, burst=3, certainty=1.0)


# A quota that is advertised.


@CLOCKS
def test_a_quota_that_is_advertised_is_kept_as_one_by_window(start):
    quota = Quota(limit=50, window=1.0, headers="draft-7")
    it = job(new(), 500, SlidingLog(50, 1.0), quota=quota, start=start)

    assert it.refused == []
    assert goodput(it, 50.0) >= 0.97
    assert it.pacer.source is PaceSource.TOLD
    assert it.pacer.limit == Limit(LimitKind.WINDOW, window=1.0, certainty=1.0)


@pytest.mark.parametrize(
    "headers", ["draft-6", "draft-7", "draft-8", "x-ratelimit", "x-ratelimit-seconds", "x-ratelimit-ms"]
)
def test_every_form_in_which_a_quota_is_advertised_is_kept(headers):
    quota = Quota(limit=300, window=10.0, headers=headers)
    it = job(new(), 900, FixedWindow(300, 10.0), quota=quota, unix=1.8e9)

    assert len(it.refused) <= 10
    assert goodput(it, 30.0) >= 0.8


def test_what_went_out_before_a_quota_was_advertised_counts():
    limiter = new()
    first, other = rush(limiter, 0.0)
    limiter.answered(first, 0.02, RateLimitHeaders(10, 1.0, 9, 1.0))
    times, now = [first.at, other.at], 0.02
    while len(times) < 11:
        while wait := limiter.ask(now):
            now += wait
        times.append(limiter.send(now).at)

    assert times[10] > 1.0


def test_a_stray_refusal_does_not_contradict_what_is_advertised():
    limiter = new()
    now = steady(limiter, 50, 3, headers=RateLimitHeaders(50, 1.0, 40, 1.0))
    now = refuse(limiter, now, 1.0, RateLimitHeaders(50, 1.0, 0, 1.0))

    assert limiter.source is PaceSource.TOLD
    assert limiter.ask(now + 1.0) == 0.0
    assert limiter.rate == pytest.approx(50.0, rel=0.02)


def test_two_refusals_within_a_window_contradict_it():
    limiter = new()
    headers = RateLimitHeaders(50, 1.0, 40, 1.0)
    now = refuse(limiter, steady(limiter, 50, 3, headers=headers), None, headers)
    refuse(limiter, steady(limiter, 50, 0.2, now, headers=headers), None, headers)

    assert limiter.source is PaceSource.LEARNED


def test_refusals_that_were_in_flight_together_contradict_nothing():
    limiter = new()
    now = steady(limiter, 50, 3, headers=RateLimitHeaders(50, 1.0, 40, 1.0))
    for one in (limiter.send(now), limiter.send(now)):
        limiter.refused(one, now + RTT, None)

    assert limiter.source is PaceSource.TOLD


def test_what_was_learned_is_not_given_up_for_what_is_advertised_afterwards():
    limiter = new()
    refuse(limiter, steady(limiter, 50, 2))
    steady(limiter, 20, 1, 5.0, headers=RateLimitHeaders(1000, 1.0, 40, 1.0))

    assert limiter.source is PaceSource.LEARNED


def test_a_quota_that_is_advertised_by_a_refusal_is_kept():
    limiter = new()
    refuse(limiter, 0.0, 1.0, RateLimitHeaders(50, 1.0, 0, 1.0))

    assert limiter.source is PaceSource.TOLD


def test_no_more_go_out_than_are_left():
    limiter = new()
    first, _ = rush(limiter, 0.0)
    limiter.answered(first, 0.02, RateLimitHeaders(1000, 10.0, 3, 5.0))

    assert sum(len(rush(limiter, 1.0 + n / 50)) for n in range(5)) == 2
    assert limiter.ask(1.1) == pytest.approx(5.02 - 1.1)


HOSTILE = [
    RateLimitHeaders(*fields)
    for fields in (
        (1, HOUR, 0, HOUR), (10**9, 1.0, 10**9, 0.0), (1, None, 0, HOUR), (10**9, None, 0, 0.0),
        (None, None, 0, HOUR), (None, None, 0, 0.0), (None, None, None, 0.0), (10**9, HOUR, None, None),
    )
]  # fmt: skip


@pytest.mark.parametrize("headers", HOSTILE)
@pytest.mark.parametrize("retry_after", [None, 0.0, 1e-300, 1e300])
@CLOCKS
def test_a_hostile_server_makes_nobody_spin_nor_wait_for_ever(headers, retry_after, start):
    limiter, now, sent = new(), start, 0
    for n in range(60):
        wait = limiter.ask(now)
        assert wait is not None
        # One an hour, and its margin.
        assert 0.0 <= wait <= 1.02 * HOUR
        now += wait
        if limiter.ask(now) == 0.0:
            one = limiter.send(now)
            sent += 1
            if n % 3:
                limiter.answered(one, now, headers)
            else:
                limiter.refused(one, now, retry_after, headers)
    assert sent >= 15


# What is learned.


@CLOCKS
@pytest.mark.parametrize(
    ("server", "quota", "kinds"),
    [
        (lambda: NginxLimitReq(50, 10), 50.0, {LimitKind.BUCKET}),
        (lambda: TokenBucket(50.0, 50), 50.0, {LimitKind.BUCKET}),
        (lambda: FixedWindow(50, 1.0), 50.0, {LimitKind.WINDOW, LimitKind.LOG}),
        (lambda: SlidingLog(50, 1.0), 50.0, {LimitKind.WINDOW, LimitKind.LOG}),
    ],
)
def test_a_limit_is_found_and_of_what_kind_it_is(server, quota, kinds, start):
    it = job(new(), 1_000, server(), start=start)

    assert goodput(it, quota) >= 0.85
    assert len(it.refused) <= 0.02 * it.sent + 5 + 16
    assert it.pacer.source is PaceSource.LEARNED
    assert it.pacer.followed.kind in kinds
    assert it.pacer.limit.kind is it.pacer.followed.kind
    assert it.pacer.rate == pytest.approx(quota, rel=0.15)


def test_a_buckets_rate_is_known_after_a_few_refusals():
    it = job(new(), 2_000, NginxLimitReq(100, 20))

    assert it.pacer.followed.kind is LimitKind.BUCKET
    assert it.pacer.rate == pytest.approx(100.0, rel=0.05)
    assert it.pacer.limit.certainty > 0.9
    assert it.pacer.limit.window is None
    assert 10 <= it.pacer.limit.burst <= 40


@pytest.mark.parametrize("limit", [6, 20])
def test_a_limit_of_what_is_in_flight_is_kept_as_a_cap(limit):
    dice = random.Random(3)
    it = job(new(), 3_000, Connections(limit), rtt=0.004, service=lambda: dice.uniform(0.045, 0.055))

    assert it.pacer.limit == Limit(LimitKind.CONNECTIONS, burst=it.pacer.limit.burst)
    assert it.pacer.limit.burst == pytest.approx(limit, abs=2)
    assert it.pacer.rate is None
    assert goodput(it, limit / 0.05) >= 0.75


def test_one_that_was_refused_may_have_come_after_those_that_were_sent_with_it():
    limiter = new()
    steady(limiter, 50.0, 1.0)
    first, *others = rush(limiter, 2.0)
    limiter.refused(first, 2.0 + RTT, None)

    assert len(others) > 2
    assert limiter._evidence.connections(RTT).high == others[-1].in_flight


def test_more_are_tried_in_flight_only_where_as_many_were():
    dice = random.Random(3)
    it = job(new(), 3_000, Connections(20), rtt=0.004, service=lambda: dice.uniform(0.045, 0.055))
    cap = it.pacer.limit.burst
    steady(it.pacer, 10, 30, it.pacer._last + 1.0)

    assert it.pacer.limit == Limit(LimitKind.CONNECTIONS, burst=cap)


def test_a_window_is_seen_from_reopening_to_reopening():
    it = job(new(), 1_500, FirstRequestWindow(300, 10.0))

    assert it.pacer.followed.window == pytest.approx(10.0, abs=1.0)
    assert it.pacer.rate == pytest.approx(30.0, rel=0.15)


def test_a_lockout_costs_an_eighth_of_what_was_answered_at_the_first_hit():
    it = job(new(), 800, FixedWindow(400, 30.0), rtt=0.2, unix=1.8e9 + 0.5, until=20.0)

    assert 1 <= it.contact <= max(16, 400 / 8)
    assert len(it.refused) <= it.contact + 16


def test_while_all_is_refused_one_at_a_time_probes():
    limiter = new()
    now = refuse(limiter, steady(limiter, 50, 2))
    for _ in range(8):
        wait = limiter.ask(now)
        now += wait
        [probe] = rush(limiter, now)
        assert probe.probe
        assert limiter.ask(now) is None
        assert limiter.pause(now) == 0.0
        now += RTT
        limiter.refused(probe, now, None)
        assert limiter.pause(now) == limiter.ask(now) > 0.0


def test_a_probe_that_is_admitted_reopens():
    limiter = new()
    now = refuse(limiter, steady(limiter, 50, 2))
    now += limiter.ask(now)
    limiter.answered(limiter.send(now), now + RTT)

    assert limiter.ask(now + RTT) is not None
    assert limiter.pause(now + RTT) == 0.0
    assert limiter.rate is not None


@pytest.mark.parametrize("end", [AdaptiveRateLimiter.lost, AdaptiveRateLimiter.unsent])
def test_a_probe_that_is_lost_or_does_not_go_out_hands_over(end):
    limiter = new()
    now = refuse(limiter, steady(limiter, 50, 2))
    now += limiter.ask(now)
    end(limiter, limiter.send(now))

    assert limiter.ask(now) == 0.0


def test_what_was_in_flight_with_the_refused_one_reopens_nothing():
    limiter = new()
    now = steady(limiter, 50, 2)
    refused, other, another = rush(limiter, now)[:3]
    limiter.refused(refused, now + RTT, None)
    limiter.answered(other, now + RTT)
    limiter.refused(another, now + RTT, None)

    assert limiter.pause(now + RTT) > 0.0
    assert limiter.followed.kind is LimitKind.UNKNOWN


def test_at_the_first_refusal_nothing_is_certain():
    limiter = new()
    refuse(limiter, steady(limiter, 50, 2))

    assert limiter.limit == Limit(LimitKind.UNKNOWN, certainty=0.0)
    assert limiter.rate is None


def test_a_slot_in_which_nothing_was_sent_is_given_back():
    limiter = new(rate=10.0, burst=1)
    limiter.unsent(limiter.send(0.0))

    assert limiter.ask(0.01) == 0.0


def test_a_request_that_was_heard_of_gives_nothing_back():
    limiter = new(rate=10.0, burst=1)
    sent = limiter.send(0.0)
    limiter.answered(sent, 0.0)
    before = limiter.ask(0.01)
    limiter.unsent(sent)
    limiter.lost(sent)

    assert limiter.ask(0.01) == before > 0.0


def test_a_rate_that_nobody_used_is_not_proved():
    used = job(new(), 1_000, NginxLimitReq(50, 5)).pacer
    rate, now = used.rate, used._last + 1.0
    steady(used, 2, 120, now)

    assert used.rate == pytest.approx(rate, rel=0.05)


def test_a_quota_that_grew_is_found_in_the_end():
    server = NginxLimitReq(50, 5)
    limiter = new()
    it = job(limiter, 1_000, server)
    server.rate = 100
    trace: list[Line] = []
    job(limiter, 8_000, server, start=it.admitted[-1] + 1.0, unix=1.8e9 + 100.0, trace=trace)

    assert 95.0 <= max(line.rate or 0.0 for line in trace) <= 150.0


def test_a_quota_that_shrank_is_found():
    server = TokenBucket(100.0, 10)
    limiter = new()
    it = job(limiter, 3_000, server)
    server.rate = 40.0
    job(limiter, 2_000, server, start=it.admitted[-1] + 1.0, unix=1.8e9 + it.admitted[-1] + 1.25)

    # What it tries may be a little above.
    assert limiter._search.low == pytest.approx(40.0, rel=0.1)


def handed_on(limiter, **policy):
    """Another that goes on with what a limiter learned."""
    other = new(**policy)
    other.load(json.loads(json.dumps(limiter.dump())))
    return other


@pytest.mark.parametrize(
    ("server", "service"),
    [
        (lambda: NginxLimitReq(20, 5), None),
        (lambda: FixedWindow(50, 1.0), None),
        (lambda: Connections(8), lambda: 0.05),
    ],
)
def test_another_goes_on_with_what_was_learned(server, service):
    limiter = job(new(), 1_000, server(), service=service).pacer
    other = handed_on(limiter)

    assert limiter.source is PaceSource.LEARNED
    assert (other.source, other.rate, other.limit) == (limiter.source, limiter.rate, limiter.limit)
    assert other.pause(0.0) == limiter.pause(0.0)


def test_another_keeps_the_quota_that_was_advertised():
    limiter = new()
    steady(limiter, 5.0, 2.0, headers=RateLimitHeaders(600, 60.0, 599, 60.0))
    other = handed_on(limiter)

    assert (other.source, other.rate, other.limit.window) == (PaceSource.TOLD, limiter.rate, 60.0)


def test_a_pause_is_kept_where_nothing_was_learned_or_a_rate_is_given():
    limiter = new()
    limiter.hold(7.0, 100.0)

    assert (handed_on(limiter).pause(100.0), handed_on(limiter).source) == (7.0, PaceSource.NONE)
    assert (handed_on(limiter, rate=5.0).pause(100.0), handed_on(limiter, rate=5.0).rate) == (7.0, 5.0)


def test_what_was_learned_is_forgotten():
    limiter = job(new(), 500, NginxLimitReq(20, 5)).pacer
    now = limiter._last + 1.0
    limiter.forget()

    assert (limiter.rate, limiter.source, limiter.followed, limiter.limit) == (None, PaceSource.NONE, None, None)
    assert limiter.ask(now) == 0.0


def test_a_floor_is_not_forgotten_with_it():
    limiter = new()
    now = refuse(limiter, 0.0, 10.0)
    limiter.forget()

    assert limiter.ask(now) == pytest.approx(10.0)


# How long nothing was sent.


def test_idle_is_how_long_nothing_was_sent_that_might_have_been():
    limiter = new()
    sent = limiter.send(10.0)
    busy = limiter.idle(50.0)
    limiter.answered(sent, 10.1)

    assert busy == 0.0
    assert limiter.idle(50.0) == 40.0


def test_who_may_not_send_is_not_idle():
    limiter = new(rate=10.0)
    now = refuse(limiter, 0.0, 60.0)
    locked_out = new()
    refuse(locked_out, steady(locked_out, 50, 2))

    assert (limiter.idle(now + 50.0), limiter.idle(now + 61.0)) == (0.0, pytest.approx(1.0))
    assert locked_out.idle(2.0 + RTT) == 0.0
    assert locked_out.idle(60.0) > 50.0


@pytest.mark.parametrize("kind", ["nginx-burst0", "conn", "block", "two-levels", "haproxy", "changed", "other-traffic"])
def test_every_kind_of_limiter_lets_a_job_come_to_its_end(kind):
    it = world(kind, 1)
    result = run(it, new())

    assert result.done
    assert result.early == 0
