"""A run: an outcome for each record and exactly one, nothing that piles up, nothing left behind."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from clarus_async.errors import (
    Applied,
    AuthenticationError,
    ClarusError,
    ConfigurationError,
    ConnectionFailedError,
    DeadlineExceededError,
    InvalidInputError,
    OutcomeUnknownError,
    PermissionDeniedError,
    RateLimitedError,
    ServerError,
    ValidationError,
)
from clarus_async.provisioning.report import Outcome, OutcomeStatus, Report
from clarus_async.provisioning.run import Created, ProvisionRun
from clarus_async.records import NewIntegration
from tests.virtual import now, settle, virtual


def record(number, **more):
    return NewIntegration(name=f"Shop {number}", integration_type="shopify", **more)


def records(count):
    return [record(number) for number in range(count)]


class Creator:
    """Creates each record in some seconds; ``fails`` says by name what it raises instead."""

    def __init__(self, fails=None, seconds=1.0):
        self.fails = fails or {}
        self.seconds = seconds
        self.names = []
        self.done = []
        self.at_once = 0
        self.most_at_once = 0

    async def create_one(self, new):
        self.names.append(new.name)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.at_once -= 1
        error = self.fails.get(new.name)
        if error is not None:
            raise error
        self.done.append(new.name)
        return Created(len(self.done), 1)


class Source:
    """An iterable that counts what was pulled."""

    def __init__(self, items):
        self.items = iter(items)
        self.pulled = 0

    def __iter__(self):
        return self

    def __next__(self):
        item = next(self.items)
        self.pulled += 1
        return item


class AsyncSource(Source):
    """The same, asynchronous, and with a pause before each."""

    def __init__(self, items, seconds=0.0):
        super().__init__(items)
        self.seconds = seconds
        self.asked = 0

    __iter__ = None

    def __aiter__(self):
        return self

    async def __anext__(self):
        self.asked += 1
        await asyncio.sleep(self.seconds)
        try:
            return super().__next__()
        except StopIteration:
            raise StopAsyncIteration from None


def provision(creator, specs, concurrency=4, on_progress=None):
    return ProvisionRun(creator, specs, concurrency=concurrency, on_progress=on_progress)


async def collect(run):
    return [outcome async for outcome in run]


class TestOutcomes:
    @pytest.mark.parametrize("source", [list, iter, tuple, Source, AsyncSource], ids=lambda kind: kind.__name__)
    def test_one_for_each_record_of_any_iterable(self, source):
        @virtual
        async def check():
            outcomes = await collect(provision(Creator(), source(records(10))))
            assert sorted(outcome.index for outcome in outcomes) == list(range(10))
            assert {outcome.key for outcome in outcomes} == {f"Shop {number}" for number in range(10)}
            assert {outcome.status for outcome in outcomes} == {OutcomeStatus.CREATED}

        check()

    @virtual
    async def test_an_empty_input_ends_at_once(self):
        run = provision(Creator(), [])
        assert await collect(run) == []
        assert run.report.total == 0
        assert run.report.ok

    @virtual
    async def test_they_come_as_they_are_known(self):
        class Uneven(Creator):
            async def create_one(self, new):
                await asyncio.sleep(10.0 if new.name == "Shop 0" else 1.0)
                return Created(1, 1)

        assert [outcome.index for outcome in await collect(provision(Uneven(), records(4), 2))] == [1, 2, 3, 0]

    @virtual
    async def test_it_says_what_was_made_and_what_it_took(self):
        [outcome] = await collect(provision(Creator(), [record(1, external_system_reference1="ref-1")]))
        assert outcome == Outcome(
            index=0, key="ref-1", status=OutcomeStatus.CREATED, integration_id=1, matched_by=None, attempts=1
        )

    @pytest.mark.parametrize(
        ("error", "status"),
        [
            (ValidationError("422", status=422, attempts=1), OutcomeStatus.FAILED),
            (ServerError("503", status=503, attempts=4), OutcomeStatus.FAILED),
            (RateLimitedError("429", status=429, attempts=2), OutcomeStatus.FAILED),
            (ConnectionFailedError("no connection", attempts=4), OutcomeStatus.FAILED),
            (DeadlineExceededError("out of time", attempts=0), OutcomeStatus.FAILED),
            (OutcomeUnknownError("who knows", applied=Applied.MAYBE, attempts=1), OutcomeStatus.UNRESOLVED),
        ],
        ids=lambda value: value.__class__.__name__,
    )
    def test_a_failing_record_stops_no_other(self, error, status):
        @virtual
        async def check():
            outcomes = await collect(provision(Creator({"Shop 3": error}), records(10)))
            by_index = {outcome.index: outcome for outcome in outcomes}
            assert len(outcomes) == len(by_index) == 10
            bad = by_index.pop(3)
            assert bad.status is status
            assert bad.error.type == type(error).__name__
            assert bad.error.applied is error.applied
            assert bad.attempts == error.attempts
            assert {outcome.status for outcome in by_index.values()} == {OutcomeStatus.CREATED}

        check()

    @pytest.mark.parametrize("junk", [None, {"name": "Shop"}, "Shop", 5], ids=repr)
    def test_what_is_no_record_fails_and_is_not_sent(self, junk):
        @virtual
        async def check():
            creator = Creator()
            outcomes = await collect(provision(creator, [record(1), junk, record(2)]))
            [bad] = [outcome for outcome in outcomes if outcome.index == 1]
            assert bad.status is OutcomeStatus.FAILED
            assert type(junk).__name__ in bad.error.message
            assert bad.attempts == 0
            assert creator.names == ["Shop 1", "Shop 2"]

        check()

    @virtual
    async def test_a_key_that_was_there_fails_and_is_not_sent(self):
        creator = Creator()
        specs = [
            record(1, external_system_reference1="a"),
            record(2, external_system_reference1="a"),
            record(3, external_system_reference1="b"),
            NewIntegration(name="b", integration_type="shopify"),
        ]
        outcomes = {outcome.index: outcome for outcome in await collect(provision(creator, specs))}
        assert [outcomes[i].status.value for i in range(4)] == ["created", "failed", "created", "failed"]
        assert "key" in outcomes[1].error.message
        assert creator.names == ["Shop 1", "Shop 3"]

    @virtual
    async def test_a_key_that_failed_before_counts_too(self):
        creator = Creator({"Shop 1": ValidationError("422", status=422)})
        outcomes = await collect(provision(creator, [record(1), record(1)], 1))
        assert [outcome.status.value for outcome in outcomes] == ["failed", "failed"]
        assert creator.names == ["Shop 1"]


class TestReaders:
    @pytest.mark.parametrize("concurrency", [1, 4])
    def test_several_share_the_outcomes_and_all_come_to_the_end(self, concurrency):
        @virtual
        async def check():
            run = provision(Creator(), records(20), concurrency)
            async with asyncio.timeout(1000.0), run:
                shares = await asyncio.gather(*(collect(run) for _ in range(3)))
            assert sorted(outcome.index for share in shares for outcome in share) == list(range(20))

        check()

    @virtual
    async def test_one_that_is_cancelled_leaves_its_outcome_to_the_next(self):
        run = provision(Creator(), records(3), 1)
        async with run:
            impatient = asyncio.ensure_future(anext(run))
            await asyncio.sleep(0.5)
            impatient.cancel()
            outcomes = await collect(run)
        assert sorted(outcome.index for outcome in outcomes) == [0, 1, 2]


class TestReport:
    @virtual
    async def test_it_adds_up(self):
        creator = Creator(
            {
                "Shop 1": ValidationError("422", status=422, attempts=1),
                "Shop 2": OutcomeUnknownError("who knows", attempts=2),
            }
        )
        run = provision(creator, [*records(6), record(0), None])
        outcomes = await collect(run)
        report = run.report
        assert report.total == len(outcomes) == 8
        assert report.as_dict() == {
            "created": 4,
            "adopted": 0,
            "updated": 0,
            "failed": 3,
            "conflict": 0,
            "unresolved": 1,
            "duplicated": 0,
            "total": 8,
            "attempts": 4 + 1 + 2,
        }
        assert not report.ok

    @virtual
    async def test_collect_runs_to_the_end(self):
        report = await Report.collect(provision(Creator(), records(9)))
        assert report.total == report.counts[OutcomeStatus.CREATED] == 9
        assert report.ok

    @virtual
    async def test_collect_raises_what_would_fail_every_record(self):
        creator = Creator({"Shop 0": AuthenticationError("refused")})
        with pytest.raises(AuthenticationError):
            await Report.collect(provision(creator, records(3)))

    @virtual
    async def test_progress_is_told_after_each_outcome(self):
        seen = []
        run = provision(
            Creator(seconds=2.0),
            records(4),
            2,
            lambda progress: seen.append((progress.report.total, progress.elapsed, progress.rate)),
        )
        await collect(run)
        assert seen == [(1, 2.0, 0.5), (2, 2.0, 1.0), (3, 4.0, 0.75), (4, 4.0, 1.0)]

    @virtual
    async def test_progress_that_raises_leaves_nothing_behind(self):
        def raises(progress):
            raise RuntimeError("the screen is gone")

        creator = Creator()
        with pytest.raises(RuntimeError, match="the screen is gone"):
            async with provision(creator, records(20), on_progress=raises) as run:
                await collect(run)
        assert creator.at_once == 0


class TestNothingPilesUp:
    @virtual
    async def test_no_more_at_once_than_were_asked_for(self):
        creator = Creator()
        await collect(provision(creator, records(50), 7))
        assert creator.most_at_once == 7

    @virtual
    async def test_a_slow_reader_stops_the_pulling(self):
        source = Source(record(number) for number in itertools.count())
        async with provision(Creator(seconds=0.0), source, 5) as run:
            for read in range(1, 6):
                await anext(run)
                await asyncio.sleep(1000.0)
                assert source.pulled <= read + 2 * 5
        assert source.pulled <= 15

    @virtual
    async def test_an_endless_source_is_fine(self):
        source = AsyncSource(record(number) for number in itertools.count())
        async with provision(Creator(seconds=0.0), source, 5) as run:
            async for outcome in run:
                if outcome.index >= 500:
                    break
        assert source.pulled <= 500 + 2 * 5 + 1

    @virtual
    async def test_a_slow_source_does_not_spin(self):
        source = AsyncSource(records(3), seconds=100.0)
        turns = 0
        loop = asyncio.get_running_loop()
        run_once = loop._run_once

        def counting():
            nonlocal turns
            turns += 1
            run_once()

        loop._run_once = counting
        outcomes = await collect(provision(Creator(), source, 64))
        assert len(outcomes) == 3
        assert source.asked == 4
        assert turns < 300

    @virtual
    async def test_a_slow_source_is_asked_by_one_at_a_time(self):
        class Exclusive(AsyncSource):
            busy = False

            async def __anext__(self):
                assert not self.busy
                self.busy = True
                try:
                    return await super().__anext__()
                finally:
                    self.busy = False

        assert len(await collect(provision(Creator(), Exclusive(records(10), 1.0), 8))) == 10

    @virtual
    async def test_an_outcome_comes_before_a_slow_source_has_its_next_record(self):
        source = AsyncSource(records(2), seconds=100.0)
        async with provision(Creator(), source, 4) as run:
            await anext(run)
            assert now() == 101.0

    @virtual
    async def test_a_record_s_time_begins_when_it_is_pulled(self):
        began = {}

        class Noting(Creator):
            async def create_one(self, new):
                began[new.name] = now()
                return await super().create_one(new)

        pulled = {}

        def source():
            for number in range(6):
                pulled[f"Shop {number}"] = now()
                yield record(number)

        await collect(provision(Noting(), source(), 2))
        assert began == pulled


FATAL = [
    AuthenticationError("the token endpoint refused us"),
    PermissionDeniedError("403", status=403),
    ConfigurationError("the server redirects"),
    ConfigurationError("the server's certificate is not valid"),
]


class TestFatal:
    @pytest.mark.parametrize("error", FATAL, ids=str)
    def test_it_stops_the_intake_finishes_what_is_in_flight_and_is_raised(self, error):
        @virtual
        async def check():
            creator = Creator({"Shop 1": error})
            source = Source(records(100))
            outcomes = []
            with pytest.raises(type(error)) as raised:
                async for outcome in provision(creator, source, 4):
                    outcomes += [outcome]
            assert raised.value is error
            assert sorted(outcome.index for outcome in outcomes) == list(range(source.pulled))
            assert source.pulled <= 8
            assert {outcome.status for outcome in outcomes if outcome.index != 1} == {OutcomeStatus.CREATED}
            assert creator.at_once == 0

        check()

    @virtual
    async def test_the_record_it_befell_has_its_outcome(self):
        creator = Creator({"Shop 0": FATAL[0]})
        run = provision(creator, records(3), 1)
        outcome = await anext(run)
        assert (outcome.index, outcome.status) == (0, OutcomeStatus.FAILED)
        with pytest.raises(AuthenticationError):
            await anext(run)

    @virtual
    async def test_it_is_raised_once(self):
        run = provision(Creator({"Shop 0": FATAL[0]}), records(1), 1)
        with pytest.raises(AuthenticationError):
            await collect(run)
        assert await collect(run) == []

    @virtual
    async def test_one_of_many_is_raised(self):
        fails = {f"Shop {number}": AuthenticationError(f"refused {number}") for number in range(4)}
        run = provision(Creator(fails), records(20), 4)
        outcomes = []
        with pytest.raises(AuthenticationError, match="refused 0"):
            async for outcome in run:
                outcomes += [outcome]
        assert len(outcomes) == 4

    @virtual
    async def test_it_is_not_fatal_where_the_record_may_be_there(self):
        creator = Creator({"Shop 0": AuthenticationError("refused", applied=Applied.MAYBE)})
        assert len(await collect(provision(creator, records(3), 1))) == 3


class TestSourcesThatFail:
    @pytest.mark.parametrize("concurrency", [1, 4])
    @pytest.mark.parametrize("is_async", [False, True], ids=["iterable", "async iterable"])
    def test_what_a_source_raises_is_raised_when_what_is_in_flight_has_ended(self, is_async, concurrency):
        def broken():
            yield from records(3)
            raise LookupError("line 4")

        async def broken_later():
            for new in broken():
                yield new

        @virtual
        async def check():
            outcomes = []
            with pytest.raises(LookupError, match="line 4"):
                async for outcome in provision(Creator(), broken_later() if is_async else broken(), concurrency):
                    outcomes += [outcome]
            assert sorted(outcome.index for outcome in outcomes) == [0, 1, 2]

        check()

    @pytest.mark.parametrize("is_async", [False, True], ids=["iterable", "async iterable"])
    def test_a_source_whose_inner_work_was_cancelled_ends_the_run(self, is_async):
        """An async source that awaits a task of its own raises CancelledError where somebody cancelled that task."""

        def broken():
            yield record(0)
            raise asyncio.CancelledError

        async def broken_later():
            yield record(0)
            inner = asyncio.ensure_future(asyncio.sleep(100.0))
            inner.cancel()
            await inner

        @virtual
        async def check():
            run = provision(Creator(), broken_later() if is_async else broken(), 2)
            async with asyncio.timeout(1000.0), run:
                with pytest.raises((asyncio.CancelledError, ClarusError, RuntimeError)):
                    await collect(run)
            assert now() < 1000.0

        check()

    @virtual
    async def test_an_iterator_that_can_not_be_made_is_raised(self):
        class Unopened:
            def __iter__(self):
                raise OSError("no such file")

        with pytest.raises(OSError, match="no such file"):
            await collect(provision(Creator(), Unopened()))

    @virtual
    async def test_what_a_creator_raises_that_is_no_error_of_ours_is_raised(self):
        with pytest.raises(ZeroDivisionError):
            await collect(provision(Creator({"Shop 0": ZeroDivisionError()}), records(5), 2))


class TestLeaving:
    @virtual
    async def test_break_leaves_no_worker(self):
        creator = Creator()
        async with provision(creator, records(100)) as run:
            async for _ in run:
                break
        assert creator.at_once == 0
        assert asyncio.all_tasks() == {asyncio.current_task(), *others()}

    @virtual
    async def test_an_exception_leaves_no_worker(self):
        creator = Creator()
        with pytest.raises(RuntimeError, match="enough"):
            async with provision(creator, records(100)) as run:
                await anext(run)
                raise RuntimeError("enough")
        assert creator.at_once == 0

    @virtual
    async def test_cancelling_the_reader_leaves_no_worker(self):
        creator = Creator()

        async def read():
            async with provision(creator, records(100)) as run:
                await collect(run)

        task = asyncio.create_task(read())
        await asyncio.sleep(2.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert creator.at_once == 0

    @virtual
    async def test_leaving_gives_up_what_is_on_the_wire_at_once(self):
        creator = Creator(seconds=1000.0)
        async with provision(creator, records(100)):
            pass
        async with provision(creator, records(100)) as run:
            reading = asyncio.create_task(anext(run))
            await asyncio.sleep(1.0)
            reading.cancel()
        assert now() == 1.0
        await settle()
        assert creator.at_once == 0

    @virtual
    async def test_a_full_queue_does_not_hold_up_leaving(self):
        async with provision(Creator(seconds=0.0), records(100), 3) as run:
            await anext(run)
            await asyncio.sleep(10.0)
        assert now() == 10.0

    @virtual
    async def test_a_run_that_never_began_is_left_as_it_was(self):
        source = Source(records(3))
        async with provision(Creator(), source):
            pass
        assert source.pulled == 0

    @virtual
    async def test_closing_ends_the_wait_of_who_reads(self):
        creator = Creator(seconds=1000.0)
        run = provision(creator, records(4))
        reading = asyncio.create_task(collect(run))
        await asyncio.sleep(1.0)
        await run.aclose()
        try:
            async with asyncio.timeout(10.0):
                assert await reading == []
        finally:
            reading.cancel()

    @virtual
    async def test_after_closing_there_is_nothing_to_read(self):
        run = provision(Creator(), records(10))
        await anext(run)
        await run.aclose()
        await run.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(run)

    @virtual
    async def test_an_async_source_is_told_that_it_is_over(self):
        ended = []

        async def source():
            try:
                for number in itertools.count():
                    await asyncio.sleep(1.0)
                    yield record(number)
            finally:
                ended.append(now())

        async with provision(Creator(seconds=0.0), source(), 2) as run:
            await anext(run)
        await settle()
        assert ended == [1.0]


def others():
    """The task that runs the test."""
    return {task for task in asyncio.all_tasks() if "checked" in repr(task.get_coro())}


class TestStopping:
    @virtual
    async def test_stop_ends_the_intake_and_what_is_in_flight_has_its_outcome(self):
        creator = Creator()
        source = Source(records(100))
        run = provision(creator, source, 4)
        outcomes = []
        async for outcome in run:
            outcomes.append(outcome)
            run.stop()
        assert source.pulled == len(outcomes) == len(creator.done)
        assert source.pulled <= 8

    @virtual
    async def test_stop_before_the_start_pulls_nothing(self):
        source = Source(records(3))
        run = provision(Creator(), source)
        run.stop()
        assert await collect(run) == []
        assert source.pulled == 0

    @virtual
    async def test_stop_while_the_source_is_asked_ends_with_its_answer(self):
        source = AsyncSource(records(5), seconds=10.0)
        run = provision(Creator(), source, 2)
        asyncio.get_running_loop().call_later(5.0, run.stop)
        outcomes = await collect(run)
        assert len(outcomes) == source.pulled <= 1


class TestValidation:
    @pytest.mark.parametrize("concurrency", [0, -1, 10_001, 1.5, True, "4", None], ids=repr)
    def test_concurrency_is_an_integer_in_range(self, concurrency):
        with pytest.raises(InvalidInputError, match="concurrency"):
            provision(Creator(), [], concurrency)

    @pytest.mark.parametrize("concurrency", [1, 10_000])
    def test_its_ends_are_allowed(self, concurrency):
        provision(Creator(), [], concurrency)

    @pytest.mark.parametrize("specs", [None, 5, record(1)], ids=lambda specs: type(specs).__name__)
    def test_the_input_is_iterable(self, specs):
        with pytest.raises(InvalidInputError, match="specs"):
            provision(Creator(), specs)

    def test_making_one_needs_no_loop_and_pulls_nothing(self):
        source = Source(records(1))
        provision(Creator(), source)
        assert source.pulled == 0
