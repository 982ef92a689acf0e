"""A bounded buffer: what is put comes out in order, nobody waits but where it is full or empty, nothing is lost."""

import asyncio

from clarus_async.provisioning.bounded_buffer import BoundedBuffer
from tests.support.virtual import settle, virtual


def test_what_is_put_without_waiting_is_refused_where_it_is_full():
    buffer = BoundedBuffer(2)
    assert [buffer.try_put(number) for number in range(3)] == [True, True, False]
    buffer.put_anyway(3)
    assert len(buffer) == 3


@virtual
async def test_it_gives_all_in_order_to_one_that_gets_and_many_that_put():
    buffer, got = BoundedBuffer(4), []

    async def put(first):
        for number in range(first, 100, 10):
            await buffer.put(number)

    async def get():
        while len(got) < 100:
            got.append(await buffer.get())
            assert len(buffer) <= 4

    await asyncio.gather(get(), *(put(first) for first in range(10)))
    assert sorted(got) == list(range(100))
    assert all([number for number in got if number % 10 == last] == list(range(last, 100, 10)) for last in range(10))


@virtual
async def test_who_waits_for_room_goes_first_and_each_as_soon_as_there_is_room():
    buffer = BoundedBuffer(2)
    putting = [asyncio.create_task(buffer.put(number)) for number in range(5)]
    await settle()
    for number in range(3):
        assert await buffer.get() == number
        assert not buffer.try_put("later")
        await settle()
        assert sum(task.done() for task in putting) == 3 + number
    assert await buffer.get_all() == [3, 4]
    assert buffer.try_put("after")


@virtual
async def test_several_that_get_have_one_each():
    buffer = BoundedBuffer(8)
    getting = [asyncio.create_task(buffer.get()) for _ in range(3)]
    await settle()
    for number in range(3):
        buffer.put_anyway(number)
    assert sorted(await asyncio.gather(*getting)) == [0, 1, 2]


@virtual
async def test_one_that_gets_and_is_cancelled_takes_nothing_with_it():
    buffer = BoundedBuffer(1)
    getting = [asyncio.create_task(buffer.get()) for _ in range(2)]
    await settle()
    buffer.put_anyway("first")
    getting[0].cancel()
    assert await getting[1] == "first"


@virtual
async def test_one_that_waits_for_room_and_is_cancelled_puts_nothing_and_keeps_nobody_waiting():
    buffer = BoundedBuffer(1)
    buffer.put_anyway("first")
    putting = [asyncio.create_task(buffer.put(number)) for number in range(3)]
    await settle()
    putting[0].cancel()
    assert await buffer.get() == "first"
    await putting[1]
    assert await buffer.get() == 1
    await putting[2]
    assert await buffer.get() == 2
    assert putting[0].cancelled()


@virtual
async def test_clearing_makes_room():
    buffer = BoundedBuffer(1)
    buffer.put_anyway("first")
    putting = asyncio.create_task(buffer.put("second"))
    await settle()
    buffer.clear()
    await putting
    assert await buffer.get() == "second"
