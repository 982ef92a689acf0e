"""Whatever comes back in whatever order: nothing is sent before Retry-After, and at most one probe is out."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from clarus_async.policy.pacing import Pace, Turn
from tests.strategies import quick

TICK = 2.0**-10  # a power of two, so that sums of it are exact
LONGEST = 3600.0

waits = st.integers(0, 2**17).map(lambda n: n / 16) | st.just(1e18)


class Pacing(RuleBasedStateMachine):
    """A tenant with requests under way; the clock moves on at every step, as a monotonic clock does between two."""

    def __init__(self):
        super().__init__()
        self.now = 1.0
        self.drawn = 0.0
        self.pace = Pace(lambda: self.drawn)
        self.under_way = []  # (sent_at, whether it is a probe)
        self.not_before = 0.0  # what the server's Retry-After forbid
        self.paused_at = None

    def tick(self):
        self.now += TICK

    @property
    def probes(self):
        return sum(probe for _, probe in self.under_way)

    @rule(seconds=st.integers(0, 100).map(lambda n: n / 8) | st.just(4000.0))
    def time_passes(self, seconds):
        self.now += seconds
        self.tick()

    @rule(drawn=st.sampled_from([0.0, 0.25, 0.5, 1.0 - 2.0**-53]))
    def the_dice_fall(self, drawn):
        self.drawn = drawn

    @rule()
    def a_caller_asks(self):
        self.tick()
        turn = self.pace.ask(self.now)
        if isinstance(turn, Turn):
            assert self.now >= self.not_before
            assert turn is Turn.GO or not self.probes
            assert turn is Turn.PROBE or self.pace.paused_until is None
            self.under_way.append((self.now, turn is Turn.PROBE))
        elif turn is None:
            assert self.probes == 1, "it waits for a probe that nobody sent"
        else:
            assert 0 < turn <= LONGEST
            assert turn == self.pace.wait(self.now)

    def come_back(self, at):
        self.tick()
        return self.under_way.pop(at % len(self.under_way))

    @precondition(lambda self: self.under_way)
    @rule(at=st.integers(0, 100))
    def an_answer_comes(self, at):
        sent_at, probe = self.come_back(at)
        paused = self.pace.paused_until is not None
        self.pace.answered(sent_at, self.now)
        if probe:
            # A Retry-After that came while it was out holds all the same.
            assert (self.pace.paused_until is not None) is (self.now < self.not_before)
        elif paused:
            assert self.pace.paused_until is not None, "a request from before the pause ended it"

    @precondition(lambda self: self.under_way)
    @rule(at=st.integers(0, 100), wait=st.none() | waits)
    def a_refusal_comes(self, at, wait):
        sent_at, _ = self.come_back(at)
        self.pace.refused(sent_at, self.now, wait)
        if wait is not None:
            self.not_before = max(self.not_before, self.now + min(wait, LONGEST))
        assert self.pace.paused_until is not None
        assert self.pace.paused_until >= self.not_before

    @precondition(lambda self: self.under_way)
    @rule(at=st.integers(0, 100))
    def a_request_is_lost(self, at):
        _, probe = self.come_back(at)
        if probe:
            self.pace.lost()

    @invariant()
    def at_most_one_probe_is_out(self):
        assert self.probes <= 1
        assert self.pace.probing is bool(self.probes)

    def teardown(self):
        """Whatever happened, the tenant opens again."""
        while self.under_way:
            self.an_answer_comes(0)
        self.now += 2 * LONGEST
        assert isinstance(self.pace.ask(self.now), Turn)


Pacing.TestCase.settings = settings(quick, max_examples=60, stateful_step_count=30)
TestPacing = Pacing.TestCase
