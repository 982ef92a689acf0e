"""What the pace has to achieve against servers of every kind, in a simulation of discrete events."""

import random
from statistics import mean

import pytest

from clarus_async.config import PacingPolicy
from clarus_async.policy.pacing import Pace
from clarus_async.simulator.limiters import FixedWindow, SlidingLog, TokenBucket, Unlimited
from clarus_async.simulator.quota import Quota
from tests.zoo.runner import Client, Unpaced, play
from tests.zoo.worlds import plain

SEEDS = (0, 1)
FOREVER = 10**9

latencies = pytest.mark.parametrize("latency", [0.002, 0.02, 0.15], ids=["2ms", "20ms", "150ms"])
seeds = pytest.mark.parametrize("seed", SEEDS)


def client(jobs=FOREVER, width=64):
    return Client(Pace(PacingPolicy()), jobs, width)


def job(limiter, creates, latency, seed, *, per_second, pace=None, told=None):
    """Run a job; return its goodput, as a part of the quota, and the share of 429s among its answers."""
    it = Client(pace or Pace(PacingPolicy()), creates)
    world = plain(limiter, latency, seed, quota=told, unix=1.8e9 + 60.0 * random.Random(seed).random())
    seconds = play(world, [it]).seconds
    assert len(it.admitted) == creates
    assert it.early == 0, "something went out before Retry-After"
    return (creates - 1) / per_second / seconds, len(it.refused) / it.sent


def between(times, since, until):
    return sum(since <= at < until for at in times)


def second(limit):
    return SlidingLog(limit, 1.0)


def bucket(limit):
    return TokenBucket(limit, limit)


@seeds
@latencies
def test_a_long_job_at_a_hundred_a_second(latency, seed):
    goodput, refused = job(second(100), 10_000, latency, seed, per_second=100)

    assert goodput >= 0.97
    assert refused <= 0.01


@seeds
@latencies
def test_a_short_job_from_cold_at_a_hundred_a_second(latency, seed):
    goodput, refused = job(second(100), 1_000, latency, seed, per_second=100)

    assert goodput >= 0.93
    assert refused <= 0.02


@seeds
@latencies
def test_a_long_job_with_a_bucket_of_fifty_a_second(latency, seed):
    goodput, refused = job(bucket(50), 10_000, latency, seed, per_second=50)

    assert goodput >= 0.98
    assert refused <= 0.01


@seeds
@latencies
def test_a_long_job_in_fixed_windows_of_a_minute(latency, seed):
    goodput, refused = job(FixedWindow(600, 60.0), 6_000, latency, seed, per_second=10)

    assert goodput >= 0.95
    assert refused <= 0.03


@latencies
def test_a_short_job_at_ten_a_second(latency):
    jobs = [job(second(10), 150, latency, seed, per_second=10) for seed in range(4)]

    assert mean(goodput for goodput, _ in jobs) >= 0.92
    assert mean(refused for _, refused in jobs) <= 0.05


@seeds
@latencies
def test_a_job_at_five_a_second(latency, seed):
    goodput, refused = job(second(5), 600, latency, seed, per_second=5)

    assert goodput >= 0.95
    assert refused <= 0.03


@latencies
def test_four_processes_share_a_quota_evenly(latency):
    fairness = []
    for seed in SEEDS:
        clients = [client() for _ in range(4)]
        play(plain(second(100), latency, seed), clients, until=180.0)
        shares = [between(it.admitted, 120.0, 180.0) for it in clients]
        refused = sum(between(it.refused, 120.0, 180.0) for it in clients)
        # Jain's index.
        fairness.append(sum(shares) ** 2 / len(shares) / sum(share**2 for share in shares))

        assert sum(shares) >= 0.95 * 100 * 60
        assert refused <= 0.03 * (refused + sum(shares))

    assert mean(fairness) >= 0.95


@seeds
@pytest.mark.parametrize("headers", ["x-ratelimit", "ietf"])
@latencies
def test_a_quota_that_headers_tell_is_used_up_almost_without_refusals(latency, headers, seed):
    told = Quota(limit=50, headers=headers)
    goodput, refused = job(second(50), 700, latency, seed, per_second=50, told=told)

    assert goodput >= 0.95
    assert refused <= 0.005


@seeds
@pytest.mark.parametrize("latency", [0.002, 0.02], ids=["2ms", "20ms"])
def test_where_a_refusal_costs_a_second_of_silence_there_are_fewer(latency, seed):
    told = Quota(limit=50, headers="retry-after")
    goodput, refused = job(second(50), 700, latency, seed, per_second=50, told=told)

    assert goodput >= 0.95
    assert refused <= 0.005


@pytest.mark.parametrize("headers", ["retry-after", "x-ratelimit", "ietf"])
@pytest.mark.parametrize(
    ("server", "per_second"),
    [
        (lambda: bucket(50), 50),
        (lambda: FixedWindow(50, 1.0), 50),
        (lambda: FixedWindow(600, 60.0), 10),
        (lambda: SlidingLog(600, 60.0), 10),
    ],
    ids=["bucket", "fixed", "fixed-minute", "sliding-minute"],
)
@latencies
def test_nothing_goes_out_before_retry_after_whatever_the_server(latency, server, per_second, headers):
    told = Quota(limit=50 if per_second == 50 else 600, window=1.0 if per_second == 50 else 60.0, headers=headers)
    job(server(), 1_000, latency, 0, per_second=per_second, told=told)


@seeds
@pytest.mark.parametrize("server", [second, bucket], ids=["sliding", "bucket"])
@latencies
def test_from_cold_nine_tenths_of_the_quota_are_used_within_five_seconds(latency, server, seed):
    it = client()
    play(plain(server(50), latency, seed), [it], until=8.0)

    seconds = (quarter / 4 for quarter in range(21))
    assert any(between(it.admitted, at, at + 1) >= 45 and between(it.admitted, at + 1, at + 2) >= 45 for at in seconds)


@seeds
@pytest.mark.parametrize("server", [second, bucket], ids=["sliding", "bucket"])
@latencies
def test_a_quota_that_is_halved_is_kept_to_within_five_seconds(latency, server, seed):
    at = 40.0 + 10.0 * random.Random(seed).random()
    it = client()
    play(changed(server, 25, at, latency, seed), [it], until=at + 15.0)
    admitted, refused = (between(times, at + 5.0, at + 15.0) for times in (it.admitted, it.refused))

    assert refused < 0.05 * (admitted + refused)


@latencies
def test_a_quota_that_is_doubled_is_used_within_ten_seconds(latency):
    assert mean(doubled(server, latency, seed) for server in (second, bucket) for seed in SEEDS) <= 10


def changed(server, limit, at, latency, seed):
    """A world whose quota of 50 a second changes."""
    limiter = server(50)

    def change():
        for name, value in (("limit", limit), ("rate", limit), ("depth", limit)):
            if hasattr(limiter, name):
                setattr(limiter, name, value)

    return plain(limiter, latency, seed, change=(at, change))


def doubled(server, latency, seed):
    """Seconds until nine tenths of a quota are used that was doubled."""
    at = 40.0 + 10.0 * random.Random(seed).random()
    it = client()
    play(changed(server, 100, at, latency, seed), [it], until=at + 25.0)
    quarters = (quarter / 4 for quarter in range(96))
    return next(after + 1 for after in quarters if between(it.admitted, at + after, at + after + 1) >= 90)


@pytest.mark.parametrize("latency", [0.002, 0.15], ids=["2ms", "150ms"])
def test_without_a_quota_the_pace_is_no_hindrance(latency):
    paced, unpaced = (
        play(plain(Unlimited(), latency, 1, serial=0.0003), [Client(pace, 20_000)]).seconds
        for pace in (Pace(PacingPolicy()), Unpaced())
    )

    assert unpaced >= 0.95 * paced


@latencies
def test_a_client_that_never_waits_would_be_refused_often(latency):
    _, refused = job(second(100), 300, latency, 0, per_second=100, pace=Unpaced())

    assert refused > 0.2
