"""A bounded buffer: what is put comes out in order, nobody waits but where it is full or empty, nothing is lost."""

import asyncio

import pytest

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
async def test_who_waits_for_room_goes_on_when_it_is_empty():
    buffer = BoundedBuffer(2)
    putting = [asyncio.create_task(buffer.put(number)) for number in range(5)]
    await settle()
    assert len(buffer) == 2
    await buffer.get()
    await settle()
    assert len(buffer) == 1
    await buffer.get()
    await settle()
    assert (len(buffer), sum(task.done() for task in putting)) == (2, 4)
    assert await buffer.get_all() == [2, 3]
    await settle()
    assert await buffer.get_all() == [4]


@virtual
async def test_several_that_get_have_one_each():
    buffer = BoundedBuffer(8)
    getting = [asyncio.create_task(buffer.get()) for _ in range(3)]
    await settle()
    for number in range(3):
        buffer.put_anyway(number)
    assert sorted(await asyncio.gather(*getting)) == [0, 1, 2]


@pytest.mark.parametrize("end", ["get", "put"])
@virtual
async def test_one_that_is_cancelled_takes_nothing_with_it(end):
    buffer = BoundedBuffer(1)
    if end == "put":
        buffer.put_anyway("first")
    work = [asyncio.create_task(buffer.get() if end == "get" else buffer.put(number)) for number in range(2)]
    await settle()
    if end == "get":
        buffer.put_anyway("first")
    else:
        assert await buffer.get() == "first"
    work[0].cancel()
    assert await work[1] == ("first" if end == "get" else None)
    assert len(buffer) == (0 if end == "get" else 1)


@virtual
async def test_clearing_makes_room():
    buffer = BoundedBuffer(1)
    buffer.put_anyway("first")
    putting = asyncio.create_task(buffer.put("second"))
    await settle()
    buffer.clear()
    await putting
    assert await buffer.get() == "second"
