"""One timer ends all attempts, each at its own time, and leaves the tasks that it cancels as it found them."""

import asyncio

import pytest

from clarus_async.http.attempt_timer import AttemptTimer, TaskTimeout


class Watched:
    """An attempt that notes when it is ended."""

    def __init__(self, expires):
        self.expires = expires
        self.ended = asyncio.Event()
        self.ended_at = []

    def expire(self):
        self.ended_at.append(now())
        self.ended.set()


@pytest.fixture
def timer():
    return AttemptTimer()


def now():
    return asyncio.get_running_loop().time()


async def test_each_is_ended_once_and_in_its_turn(timer):
    at = now()
    attempts = [Watched(at + 0.01 * n) for n in (3, 1, 2)]
    for attempt in attempts:
        timer.add(attempt)
    await attempts[0].ended.wait()
    late, early, between = (attempt.ended_at for attempt in attempts)
    assert [*early, *between, *late] == sorted([*early, *between, *late])
    assert [len(early), len(between), len(late)] == [1, 1, 1]


async def test_what_ended_by_itself_is_left_alone(timer):
    left, gone = Watched(now() + 0.02), Watched(now() + 0.01)
    timer.add(gone)
    timer.discard(gone)
    timer.add(left)
    await left.ended.wait()
    assert not gone.ended_at


async def test_one_timer_serves_many(timer, monkeypatch):
    made = []
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "call_at", lambda *args: made.append(args))
    for number in range(100):
        timer.add(Watched(now() + 30.0 + number))
    assert len(made) == 1


async def test_it_goes_on_where_it_is_closed_before_all_have_ended(timer):
    attempt = Watched(now() + 0.01)
    timer.add(attempt)
    timer.close()
    await attempt.ended.wait()


async def test_one_that_is_closed_leaves_no_timer_behind(timer):
    attempt = Watched(now() + 600.0)
    timer.add(attempt)
    timer.discard(attempt)
    timer.close()
    assert timer._timer.cancelled()
    later = Watched(now() + 0.01)
    timer.add(later)
    await later.ended.wait()


def test_one_that_is_not_used_can_be_closed(timer):
    timer.close()


async def test_a_task_whose_time_is_over_gets_a_timeout_and_is_not_cancelled(timer):
    with pytest.raises(TimeoutError), TaskTimeout(timer, now() + 0.01):
        await asyncio.sleep(3600)
    assert asyncio.current_task().cancelling() == 0
    await asyncio.sleep(0)


async def test_a_task_that_ends_in_time_is_left_alone(timer):
    with TaskTimeout(timer, now() + 0.01):
        pass
    later = Watched(now() + 0.02)
    timer.add(later)
    await later.ended.wait()


@pytest.mark.parametrize("first", ["the timer", "somebody else"])
async def test_a_task_that_somebody_else_cancels_too_is_cancelled(timer, first):
    limits = []

    async def wait():
        with TaskTimeout(timer, now() + 600.0) as limit:
            limits.append(limit)
            await asyncio.sleep(3600)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    for cancel in (limits[0].expire, task.cancel) if first == "the timer" else (task.cancel, limits[0].expire):
        cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_a_task_that_was_cancelled_before_and_goes_on_has_its_time(timer):
    async def wait():
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            # It cleans up.
            with pytest.raises(TimeoutError), TaskTimeout(timer, now() + 0.01):
                await asyncio.sleep(3600)
            raise

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_what_makes_an_error_of_its_cancellation_keeps_it(timer):
    with pytest.raises(ConnectionError), TaskTimeout(timer, now() + 0.01):
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            raise ConnectionError from None
    assert asyncio.current_task().cancelling() == 0


async def test_the_callers_own_timeout_is_the_callers(timer):
    with pytest.raises(TimeoutError):
        async with asyncio.timeout_at(now() + 0.01) as theirs:
            with TaskTimeout(timer, now() + 600.0):
                await asyncio.sleep(3600)
    assert theirs.expired()
