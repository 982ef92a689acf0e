"""When a run will end, and how fast it is: the arithmetic."""

import pytest

from clarus_async.provisioning.forecast import Speed, Wave, end
from clarus_async.provisioning.options import Bottleneck

NOW, SETTLE = 1000.0, 60.0


def left(base=0.0, waves=(), again=0.02):
    return end(NOW + base, waves, SETTLE, again, NOW) - NOW


def wave(records, first, last, due=1.0, again=1.0):
    return Wave(records, NOW + first, NOW + last, due, again)


class TestEnd:
    def test_with_nothing_in_doubt_it_is_when_the_last_is_sent(self):
        assert left(12.0) == 12.0
        assert left(12.0, [wave(0, 60.0, 72.0)]) == 12.0

    def test_what_is_absent_is_sent_again_when_it_is_due_and_settles_once_more(self):
        assert left(waves=[wave(1, 30.0, 30.0)]) == pytest.approx(30.0 + SETTLE)

    def test_what_was_sent_again_ends_when_it_is_due(self):
        assert left(waves=[wave(20, 5.0, 30.0, 1.0, 0.0)]) == pytest.approx(30.0)

    def test_what_is_overdue_takes_no_less_than_if_it_were_due_now(self):
        assert left(waves=[wave(1, -3.0, -3.0)]) == pytest.approx(SETTLE)

    def test_of_what_is_still_to_be_sent_some_will_be_in_doubt(self):
        # Of a thousand that are sent within ten seconds, fifty are lost, and one or two of those twice.
        assert left(10.0, [wave(1000, 60.0, 70.0, 0.05, 0.05)], again=0.05) == pytest.approx(195.0, rel=0.1)

    def test_less_than_one_does_not_count(self):
        assert left(10.0, [wave(1000, 60.0, 70.0, 0.0001, 0.0001)]) == pytest.approx(10.0)

    def test_where_two_ends_are_likely_it_is_near_to_both(self):
        # Of thirty that are sent again with a risk of 2 %, one is lost once more or not.
        expected = left(waves=[wave(30, 55.0, 60.0)])
        for truth in (120.0, 180.0):
            assert expected == pytest.approx(truth, rel=0.3)


class TestSpeed:
    def test_it_is_that_of_the_last_while(self):
        speed = Speed(NOW)
        passed = 0
        for second in range(1, 61):
            passed += 100 if second <= 30 else 10
            speed.look(NOW + second, passed, passed, Bottleneck.SERVER, NOW + second)
        assert speed.rate == speed.passing == pytest.approx(10.0)

    def test_a_pause_does_not_slow_what_passes_after_it(self):
        speed = Speed(NOW)
        speed.look(NOW + 10.0, 1000, 1000, Bottleneck.RATE_LIMIT, NOW + 310.0)
        speed.look(NOW + 200.0, 1000, 1000, Bottleneck.RATE_LIMIT, NOW + 310.0)
        speed.look(NOW + 311.0, 1100, 1100, Bottleneck.RATE_LIMIT, NOW + 311.0)
        assert speed.passing == pytest.approx(100.0)
        assert speed.rate < 10.0

    def test_what_is_in_doubt_passed_and_is_not_done(self):
        speed = Speed(NOW)
        speed.look(NOW + 10.0, 1000, 900, Bottleneck.SERVER, NOW)
        assert (speed.passing, speed.rate) == (100.0, 90.0)

    def test_one_look_between_two_records_does_not_change_what_limits_it(self):
        speed = Speed(NOW)
        limits = [Bottleneck.RATE_LIMIT] * 5 + [Bottleneck.INPUT] + [Bottleneck.RATE_LIMIT]
        for second, limit in enumerate(limits, 1):
            speed.look(NOW + second, second, second, limit, NOW)
        assert speed.limit is Bottleneck.RATE_LIMIT

    def test_it_keeps_no_more_marks_in_an_hour_than_in_a_minute(self):
        speed = Speed(NOW)
        for tick in range(36_000):
            speed.look(NOW + tick / 10, tick, tick, Bottleneck.SERVER, NOW)
        assert len(speed._marks) <= 45
        assert speed.rate == pytest.approx(10.0, rel=0.05)
