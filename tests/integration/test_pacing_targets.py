"""What the pace has to achieve against servers of every kind, in a simulation of discrete events."""

import random
from statistics import mean

import pytest

from benchmarks.discrete import Bucket, Client, Fixed, Sliding, Unlimited, run
from clarus_async.config import PacingPolicy
from clarus_async.policy.pacing import Pace

SEEDS = (0, 1)
FOREVER = 10**9

latencies = pytest.mark.parametrize("latency", [0.002, 0.02, 0.15], ids=["2ms", "20ms", "150ms"])
seeds = pytest.mark.parametrize("seed", SEEDS)


class Unpaced:
    """Sends as fast as answers come back."""

    def ask(self, now):
        return 0.0

    def send(self, now):
        return None

    def answered(self, sent, now, told):
        pass

    def refused(self, sent, now, retry_after, told):
        pass


def client(jobs=FOREVER, width=64):
    return Client(Pace(PacingPolicy()), jobs, width)


def job(server, creates, latency, seed, *, per_second, pace=None, headers="none"):
    """Run a job; return its goodput, as a part of the quota, and the share of 429s among its answers."""
    it = Client(pace or Pace(PacingPolicy()), creates)
    seconds = run([it], server, latency, seed, headers=headers)
    assert len(it.admitted) == creates
    assert it.early == 0, "something went out before Retry-After"
    return (creates - 1) / per_second / seconds, len(it.refused) / it.sent


def between(times, since, until):
    return sum(since <= at < until for at in times)


@seeds
@latencies
def test_a_long_job_at_a_hundred_a_second(latency, seed):
    goodput, refused = job(Sliding(100), 10_000, latency, seed, per_second=100)

    assert goodput >= 0.97
    assert refused <= 0.01


@seeds
@latencies
def test_a_short_job_from_cold_at_a_hundred_a_second(latency, seed):
    goodput, refused = job(Sliding(100), 1_000, latency, seed, per_second=100)

    assert goodput >= 0.93
    assert refused <= 0.02


@seeds
@latencies
def test_a_long_job_with_a_bucket_of_fifty_a_second(latency, seed):
    goodput, refused = job(Bucket(50, 50), 10_000, latency, seed, per_second=50)

    assert goodput >= 0.98
    assert refused <= 0.01


@seeds
@latencies
def test_a_long_job_in_fixed_windows_of_a_minute(latency, seed):
    phase = random.Random(seed).random() * 60.0
    goodput, refused = job(Fixed(600, 60.0, phase), 6_000, latency, seed, per_second=10)

    assert goodput >= 0.95
    assert refused <= 0.03


@latencies
def test_a_short_job_at_ten_a_second(latency):
    jobs = [job(Sliding(10), 150, latency, seed, per_second=10) for seed in range(4)]

    assert mean(goodput for goodput, _ in jobs) >= 0.92
    assert mean(refused for _, refused in jobs) <= 0.05


@seeds
@latencies
def test_a_job_at_five_a_second(latency, seed):
    goodput, refused = job(Sliding(5), 600, latency, seed, per_second=5)

    assert goodput >= 0.95
    assert refused <= 0.03


@latencies
def test_four_processes_share_a_quota_evenly(latency):
    fairness = []
    for seed in SEEDS:
        clients = [client() for _ in range(4)]
        run(clients, Sliding(100), latency, seed, until=180.0)
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
    goodput, refused = job(Sliding(50), 700, latency, seed, per_second=50, headers=headers)

    assert goodput >= 0.95
    assert refused <= 0.005


@seeds
@pytest.mark.parametrize("latency", [0.002, 0.02], ids=["2ms", "20ms"])
def test_where_a_refusal_costs_a_second_of_silence_there_are_fewer(latency, seed):
    goodput, refused = job(Sliding(50), 700, latency, seed, per_second=50, headers="retry-after")

    assert goodput >= 0.95
    assert refused <= 0.005


@pytest.mark.parametrize("headers", ["retry-after", "x-ratelimit", "ietf"])
@pytest.mark.parametrize(
    ("server", "per_second"),
    [
        (lambda: Bucket(50, 50), 50),
        (lambda: Fixed(50, 1.0, 0.4), 50),
        (lambda: Fixed(600, 60.0, 23.0), 10),
        (lambda: Sliding(600, 60.0), 10),
    ],
    ids=["bucket", "fixed", "fixed-minute", "sliding-minute"],
)
@latencies
def test_nothing_goes_out_before_retry_after_whatever_the_server(latency, server, per_second, headers):
    job(server(), 1_000, latency, 0, per_second=per_second, headers=headers)


@seeds
@pytest.mark.parametrize("server", [Sliding, lambda limit: Bucket(limit, limit)], ids=["sliding", "bucket"])
@latencies
def test_from_cold_nine_tenths_of_the_quota_are_used_within_five_seconds(latency, server, seed):
    it = client()
    run([it], server(50), latency, seed, until=8.0)

    seconds = (quarter / 4 for quarter in range(21))
    assert any(between(it.admitted, at, at + 1) >= 45 and between(it.admitted, at + 1, at + 2) >= 45 for at in seconds)


@seeds
@pytest.mark.parametrize("server", [Sliding, lambda limit: Bucket(limit, limit)], ids=["sliding", "bucket"])
@latencies
def test_a_quota_that_is_halved_is_kept_to_within_five_seconds(latency, server, seed):
    at = 40.0 + 10.0 * random.Random(seed).random()
    it = client()
    run([it], server(50), latency, seed, until=at + 15.0, changes=[(at, lambda: server(25))])
    admitted, refused = (between(times, at + 5.0, at + 15.0) for times in (it.admitted, it.refused))

    assert refused < 0.05 * (admitted + refused)


@latencies
def test_a_quota_that_is_doubled_is_used_within_ten_seconds(latency):
    assert mean(doubled(server, latency, seed) for server in (Sliding, lambda n: Bucket(n, n)) for seed in SEEDS) <= 10


def doubled(server, latency, seed):
    """Seconds until nine tenths of a quota are used that was doubled."""
    at = 40.0 + 10.0 * random.Random(seed).random()
    it = client()
    run([it], server(50), latency, seed, until=at + 25.0, changes=[(at, lambda: server(100))])
    quarters = (quarter / 4 for quarter in range(96))
    return next(after + 1 for after in quarters if between(it.admitted, at + after, at + after + 1) >= 90)


@pytest.mark.parametrize("latency", [0.002, 0.15], ids=["2ms", "150ms"])
def test_without_a_quota_the_pace_is_no_hindrance(latency):
    paced, unpaced = (
        run([Client(pace, 20_000)], Unlimited(), latency, 1, service=0.0003)
        for pace in (Pace(PacingPolicy()), Unpaced())
    )

    assert unpaced >= 0.95 * paced


@latencies
def test_a_client_that_never_waits_would_be_refused_often(latency):
    _, refused = job(Sliding(100), 300, latency, 0, per_second=100, pace=Unpaced())

    assert refused > 0.2
