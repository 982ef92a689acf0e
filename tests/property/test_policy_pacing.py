"""Whatever comes back in whatever order: floors hold, nobody waits for nothing, and a tenant opens again."""

from __future__ import annotations

import math
from bisect import bisect_left, insort

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from clarus_async.config import PacingPolicy
from clarus_async.policy.pacing import Pace, PaceSource
from clarus_async.ratelimit.headers import Told
from tests.strategies import quick

HOUR = 3600.0
# What a pace keeps of the past, in seconds.
KEPT = 5.0
# Seconds after which a client gives up on an answer.
PATIENCE = 60.0

rates = st.sampled_from([1e-3, 0.1, 1.0, 7.5, 50.0, 1e3, 1e9])
policies = st.one_of(
    st.just(PacingPolicy()),
    st.builds(PacingPolicy, start=rates),
    st.builds(PacingPolicy, rate=rates, burst=st.none() | st.sampled_from([1, 2, 64, 10**6])),
)
# 0 is drawn often: a loop's clock may stand still.
steps = st.one_of(
    st.just(0.0),
    st.floats(0, 0.1),
    st.floats(0, 5),
    st.sampled_from([1.0, 60.0, HOUR, 5 * HOUR]),
)
waits = st.none() | st.just(0.0) | st.floats(0, 120) | st.sampled_from([1.0, 2.0, 5.0, HOUR, 1e18])


@st.composite
def told(draw):
    """What the parser may make of a hostile server's headers."""
    limit = draw(st.none() | st.sampled_from([1, 2, 10, 50, 600, 10**9]))
    window = None if limit is None else draw(st.none() | st.sampled_from([1.0, 60.0, HOUR]))
    remaining = draw(st.none() | st.sampled_from([0, 1, 5, 50, 10**9]))
    reset = draw(st.none() | st.sampled_from([0.0, 1.0, 2.0, 59.5, HOUR]))
    return Told(limit, window, remaining, reset)


anything_told = st.none() | told()
places = st.integers(0, 1_000)


class Pacing(RuleBasedStateMachine):
    """A tenant with requests under way, some of which come back late, and some never."""

    def __init__(self):
        super().__init__()
        self.now = 1.0
        self.under_way = []
        self.heard_of = []
        self.floor = 0.0  # what the server's Retry-After forbid
        self.admitted = []
        self.late = 0

    @initialize(policy=policies)
    def a_tenant_comes(self, policy):
        self.policy = policy
        self.pace = Pace(policy)

    def ask(self):
        wait = self.pace.ask(self.now)
        if wait is None:
            assert any(sent.probe for sent in self.under_way), "it waits for an answer, and no probe is out"
        else:
            assert 0 <= wait < math.inf
            assert wait > 0 or self.now >= self.floor, "it goes before Retry-After"
        return wait

    def send(self):
        sent = self.pace.send(self.now)
        self.under_way.append(sent)

    def answer(self, sent, tells=None):
        if self.now - sent.at > PATIENCE:
            self.pace.lost(sent)
            return
        if self.admitted and sent.at < self.admitted[-1]:
            self.late += 1
        insort(self.admitted, sent.at)
        self.pace.answered(sent, self.now, tells)

    def come_back(self, at):
        sent = self.under_way.pop(at % len(self.under_way))
        self.heard_of.append(sent)
        return sent

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

    @rule(seconds=st.floats(0.01, 20.0), width=st.integers(1, 64), tells=anything_told)
    def much_traffic_is_admitted(self, seconds, width, tells):
        until = self.now + seconds
        for _ in range(200):
            wait = self.ask() if len(self.under_way) < width else None
            if wait == 0:
                self.send()
            elif wait is None:
                self.now += 0.001
                self.answer(self.come_back(0), tells)
            else:
                self.now += wait
            if self.now > until:
                break

    @precondition(lambda self: self.under_way)
    @rule(at=places, tells=anything_told)
    def an_answer_comes(self, at, tells):
        self.answer(self.come_back(at), tells)

    @precondition(lambda self: self.under_way)
    @rule(at=places, wait=waits, tells=anything_told)
    def a_refusal_comes(self, at, wait, tells):
        self.refuse(at, wait, tells)

    @precondition(lambda self: len(self.under_way) > 1)
    @rule(most=st.integers(2, 12), wait=waits)
    def refusals_come(self, most, wait):
        for _ in range(min(most, len(self.under_way))):
            self.refuse(0, wait, None)

    def refuse(self, at, wait, tells):
        if wait is not None:
            self.floor = max(self.floor, self.now + min(wait, HOUR))
        self.pace.refused(self.come_back(at), self.now, wait, tells)

    @precondition(lambda self: self.under_way)
    @rule(at=places)
    def a_request_is_lost(self, at):
        self.pace.lost(self.come_back(at))

    @precondition(lambda self: self.heard_of)
    @rule(at=places)
    def a_request_that_was_heard_of_is_lost(self, at):
        self.pace.lost(self.heard_of[at % len(self.heard_of)])

    @invariant()
    def what_is_under_way_is_counted(self):
        assert self.pace.under_way == len(self.under_way)

    @invariant()
    def at_most_one_probe_is_out(self):
        assert sum(sent.probe for sent in self.under_way) <= 1

    @invariant()
    def asking_changes_nothing(self):
        assert self.ask() == self.ask()

    @invariant()
    def a_rate_is_a_number(self):
        rate = self.pace.rate
        assert (rate is None) == (self.pace.source is PaceSource.NONE)
        assert rate is None or 0 < rate < math.inf
        if self.policy.rate is not None:
            assert rate <= self.policy.rate
            assert self.pace.source is PaceSource.GIVEN

    @invariant()
    def a_pause_is_no_shorter_than_the_floor(self):
        assert max(0.0, self.floor - self.now) <= self.pace.pause(self.now) < math.inf
        idle = self.pace.idle(self.now)
        assert 0 <= idle <= self.now
        assert idle == 0 or not self.under_way

    @invariant()
    def little_is_kept_of_the_past(self):
        admitted = self.admitted
        recent = len(admitted) - bisect_left(admitted, admitted[-1] - KEPT) if admitted else 0
        assert len(self.pace._admitted._at) <= 2 * recent + self.late + 1

    def teardown(self):
        """Whatever happened, the tenant opens again."""
        while self.under_way:
            self.answer(self.come_back(0))
        until = self.now + 2 * HOUR
        while wait := self.ask():
            self.now += wait
            assert self.now <= until


Pacing.TestCase.settings = settings(quick, max_examples=60, stateful_step_count=40)
TestPacing = Pacing.TestCase
