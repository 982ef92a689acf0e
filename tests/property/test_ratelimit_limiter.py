"""Whatever comes back in whatever order: floors hold, nobody waits for nothing, and a tenant opens again."""

from __future__ import annotations

import math

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from clarus_async.config import PacingPolicy
from clarus_async.ratelimit.headers import RateLimitHeaders
from clarus_async.ratelimit.limiter import AdaptiveRateLimiter
from clarus_async.ratelimit.pace import PaceSource
from tests.support.strategies import quick

HOUR = 3600.0
# What a float leaves of a microsecond at the largest clock.
SHADE = 1e-6

rates = st.sampled_from([1e-3, 0.1, 1.0, 7.5, 50.0, 1e3, 1e9])
policies = st.one_of(
    st.just(PacingPolicy()),
    st.builds(PacingPolicy, start=rates),
    st.builds(PacingPolicy, rate=rates, burst=st.none() | st.sampled_from([1, 2, 64, 10**6])),
)
clocks = st.sampled_from([0.0, 1.0, 12345.6, 1e9, 1.7e9])
# 0 is drawn often: a loop's clock may stand still.
steps = st.one_of(
    st.just(0.0),
    st.floats(0, 0.1),
    st.floats(0, 5),
    st.sampled_from([1.0, 60.0, HOUR, 5 * HOUR]),
)
waits = st.none() | st.just(0.0) | st.floats(0, 120) | st.sampled_from([1e-300, 1.0, 2.0, 5.0, HOUR, 1e18, math.inf])


@st.composite
def stated(draw):
    """What the parser may make of a hostile server's headers."""
    limit = draw(st.none() | st.sampled_from([1, 2, 10, 50, 600, 10**9]))
    window = None if limit is None else draw(st.none() | st.sampled_from([1.0, 60.0, HOUR]))
    remaining = draw(st.none() | st.sampled_from([0, 1, 5, 50, 10**9]))
    reset = draw(st.none() | st.sampled_from([0.0, 1.0, 2.0, 59.5, HOUR]))
    return RateLimitHeaders(limit, window, remaining, reset)


any_headers = st.none() | stated()
places = st.integers(0, 1_000)


class Limiting(RuleBasedStateMachine):
    """A tenant with requests in flight, some of which come back late, and some never."""

    def __init__(self):
        super().__init__()
        self.in_flight = []
        self.heard_of = []

    @initialize(policy=policies, clock=clocks)
    def a_tenant_comes(self, policy, clock):
        self.policy = policy
        self.now = clock
        self.floor = -math.inf  # what the server's Retry-After forbid
        self.limiter = AdaptiveRateLimiter(policy)

    def ask(self):
        wait = self.limiter.ask(self.now)
        if wait is None:
            assert self.in_flight, "it waits for an answer, and nothing is in flight"
        else:
            assert 0 <= wait < math.inf
            assert wait > 0 or self.now >= self.floor - SHADE, "it goes before Retry-After"
        return wait

    def send(self):
        self.in_flight.append(self.limiter.send(self.now))

    def come_back(self, at):
        sent = self.in_flight.pop(at % len(self.in_flight))
        self.heard_of.append(sent)
        return sent

    def refuse(self, at, wait, headers):
        if wait is not None:
            self.floor = max(self.floor, self.now + min(wait, HOUR))
        self.limiter.refused(self.come_back(at), self.now, wait, headers)

    @rule(seconds=steps)
    def time_passes(self, seconds):
        self.now += seconds

    @rule(callers=st.integers(1, 12))
    def callers_come(self, callers):
        for _ in range(callers):
            if self.ask() != 0:
                return
            self.send()

    @rule()
    def a_caller_waits_for_its_turn(self):
        wait = self.ask()
        if wait is not None:
            self.now += wait
            if self.ask() == 0:
                self.send()

    @rule(seconds=st.floats(0.01, 20.0), width=st.integers(1, 64), headers=any_headers, each=st.integers(2, 90))
    def much_traffic_comes_and_some_is_refused(self, seconds, width, headers, each):
        until = self.now + seconds
        for number in range(1, 200):
            wait = self.ask() if len(self.in_flight) < width else None
            if wait == 0:
                self.send()
            elif wait is not None:
                self.now += wait
            elif number % each:
                self.now += 0.001
                self.limiter.answered(self.come_back(0), self.now, headers)
            else:
                self.refuse(0, None, headers)
            if self.now > until:
                break

    @precondition(lambda self: self.in_flight)
    @rule(at=places, headers=any_headers)
    def an_answer_comes(self, at, headers):
        self.limiter.answered(self.come_back(at), self.now, headers)

    @precondition(lambda self: self.in_flight)
    @rule(at=places, wait=waits, headers=any_headers)
    def a_refusal_comes(self, at, wait, headers):
        self.refuse(at, wait, headers)

    @precondition(lambda self: len(self.in_flight) > 1)
    @rule(most=st.integers(2, 12), wait=waits)
    def refusals_come(self, most, wait):
        for _ in range(min(most, len(self.in_flight))):
            self.refuse(0, wait, None)

    @precondition(lambda self: self.in_flight)
    @rule(at=places)
    def a_request_is_lost(self, at):
        self.limiter.lost(self.come_back(at))

    @precondition(lambda self: self.in_flight)
    @rule(at=places)
    def a_request_does_not_go_out(self, at):
        self.limiter.unsent(self.come_back(at))

    @precondition(lambda self: self.heard_of)
    @rule(at=places)
    def a_request_that_was_heard_of_is_lost(self, at):
        self.limiter.lost(self.heard_of[at % len(self.heard_of)])
        self.limiter.unsent(self.heard_of[at % len(self.heard_of)])

    @rule(seconds=waits.filter(lambda seconds: seconds is not None))
    def the_server_can_not_answer(self, seconds):
        self.floor = max(self.floor, self.now + min(seconds, HOUR))
        self.limiter.hold(seconds, self.now)

    @rule()
    def there_is_no_limiter(self):
        self.limiter.forget()

    @invariant()
    def what_is_in_flight_is_counted(self):
        assert self.limiter._out == set(self.in_flight)

    @invariant()
    def at_most_one_probes(self):
        limiter = self.limiter
        assert limiter._probe is None or limiter._probe in limiter._out

    @invariant()
    def asking_changes_nothing(self):
        assert self.ask() == self.ask()

    @invariant()
    def a_rate_is_a_number(self):
        rate = self.limiter.rate
        assert rate is None or 0 < rate < math.inf
        assert rate is None or self.limiter.source is not PaceSource.NONE
        if self.policy.rate is not None:
            assert rate == self.policy.rate
            assert self.limiter.source is PaceSource.GIVEN

    @invariant()
    def what_limits_is_known(self):
        limit = self.limiter.limit
        assert (limit is None) == (self.limiter.source is PaceSource.NONE)
        assert limit is None or 0.0 <= limit.certainty <= 1.0
        assert limit is None or limit.burst is None or limit.burst >= 1

    @invariant()
    def a_pause_is_no_shorter_than_the_floor(self):
        assert max(0.0, self.floor - self.now) <= self.limiter.pause(self.now) + SHADE < math.inf
        idle = self.limiter.idle(self.now)
        assert 0 <= idle < math.inf
        assert idle == 0 or not self.in_flight

    @invariant()
    def little_is_kept_of_the_past(self):
        assert len(self.limiter._evidence._runs) < 2_000

    def teardown(self):
        """Whatever happened, the tenant opens again."""
        while self.in_flight:
            self.limiter.answered(self.come_back(0), self.now)
        # A thousandth a second may be given, and an hour advertised.
        until = self.now + 3 * HOUR
        for _ in range(100):
            wait = self.ask()
            if wait == 0:
                return
            assert wait is not None
            self.now += max(wait, SHADE)
            assert self.now <= until
        raise AssertionError("it spins")


Limiting.TestCase.settings = settings(quick, max_examples=60, stateful_step_count=40)
TestLimiting = Limiting.TestCase
