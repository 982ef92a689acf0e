"""A run: an outcome for each record and exactly one, nothing that piles up, nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from datetime import UTC, datetime, timedelta

import pytest

from clarus_async.config import RetryPolicy
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
from clarus_async.provisioning.options import Bottleneck, Options
from clarus_async.provisioning.report import Outcome, OutcomeStatus
from clarus_async.provisioning.run import ProvisionRun
from clarus_async.ratelimit.queue import Traffic
from clarus_async.reconcile.decide import lookup_result
from clarus_async.reconcile.pending import Moment, PendingCreate, lookup_keys
from clarus_async.reconcile.reconciler import ChangedRecord, Creation, Terms
from clarus_async.resources.integrations import INTEGRATIONS, Integration, IntegrationRow, NewIntegration
from clarus_async.retry.circuit_breaker import FAILURES_TO_OPEN, CircuitBreaker
from clarus_async.unset import UNSET
from tests.support.builders import collect
from tests.support.virtual import now, settle, virtual
from tests.support.virtual_world import inline_journal  # noqa: F401  a fixture

START = datetime(2026, 1, 10, 12, tzinfo=UTC)
SETTLE = 60.0
LINGER = 6.0
"""Seconds that a record in doubt may wait for others to be looked up with, and a little."""
READ_AHEAD = 300
"""Records that a run of little concurrency may have pulled before one of them is sent: three batches of a hundred."""


def record(number, **more):
    return NewIntegration(name=f"Shop {number}", integration_type="shopify", **more)


def records(count):
    return [record(number) for number in range(count)]


class LostError(OutcomeUnknownError):
    """A send without an answer; it is applied some seconds later, or never."""

    def __init__(self, after=None):
        super().__init__("no answer came", applied=Applied.MAYBE, attempts=1)
        self.after = after


class Api:
    """A tenant in memory. A send takes some seconds; ``fails`` says by name what ends each in turn."""

    spec = INTEGRATIONS
    traffic = Traffic(0, 0, 0, 0.0)

    def __init__(self, fails=None, seconds=1.0, look_seconds=0.0, *, references=False, max_wait=300.0):
        self.fails = {name: error if isinstance(error, list) else [error] for name, error in (fails or {}).items()}
        self.seconds = seconds
        self.look_seconds = look_seconds
        self.references = references
        self.terms = Terms("acme", "https://clarus-api.com", SETTLE, 4, max_wait)
        self.paused = 0.0
        self.rate_limited = self.is_down = False
        self.rows = []
        self.fails_to_find = []
        self.names = []
        self.sent_at = []
        self.looked_up = []
        self.patched = []
        self.under_way = set()
        self.most_under_way = 0
        self.at_once = 0
        self.most_at_once = 0

    @property
    def made(self):
        return [row.name for row in self.rows]

    def store(self, new, *, at=None):
        row = IntegrationRow(
            id=len(self.rows) + 1,
            name=new.name,
            external_system_reference1=new.external_system_reference1 if self.references else None,
            created_at=START + timedelta(seconds=now() if at is None else at),
        )
        self.rows.append(row)
        return row.id

    @property
    def server_time(self):
        return START + timedelta(seconds=now())

    def circuit_breaker(self):
        return CircuitBreaker(RetryPolicy(base=10.0, cap=10.0), lambda: 1.0)

    def prepare(self, new, idempotency_key=None):
        return Creation(new, PendingCreate(self.spec.name, lookup_keys(self.spec, new), idempotency_key or "key"))

    def begin(self, creation):
        assert creation not in self.under_way
        self.under_way.add(creation)
        self.most_under_way = max(self.most_under_way, len(self.under_way))

    def end(self, creation):
        self.under_way.remove(creation)

    def end_of(self, new):
        """What ends the next send of a record: an error, or nothing."""
        fails = self.fails.get(new.name)
        return fails.pop(0) if fails else None

    async def send(self, creation, *, wait_for_pace=False):
        assert wait_for_pace
        pending, in_doubt = creation.pending, creation.pending.in_doubt
        self.names.append(creation.new.name)
        self.sent_at.append(now())
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            in_doubt.sent(Applied.MAYBE, now())
            raise
        finally:
            self.at_once -= 1
        error = creation.error = self.end_of(creation.new)
        if error is not None and not isinstance(error, ClarusError):
            raise error
        pending.attempts += 1 if error is None else error.attempts
        pending.first_sent = pending.first_sent or Moment(self.server_time - timedelta(seconds=self.seconds), now())
        if error is None:
            number = self.store(creation.new)
            creation.record = Integration(id=number, name=creation.new.name)
            in_doubt.sent(Applied.YES, now(), number)
        elif error.applied is not Applied.NO:
            in_doubt.sent(error.applied, now())
            pending.was_in_doubt = True
            if isinstance(error, LostError) and error.after is not None:
                asyncio.get_running_loop().call_later(error.after, self.store, creation.new)
        else:
            in_doubt.refused = not error.retryable

    def sort_out(self, creation, key, rows, at, others=()):
        pending = creation.pending
        not_before = pending.first_sent and pending.first_sent.server
        given = set(others) - {pending.in_doubt.answered_id}
        return lookup_result(rows, pending.in_doubt, at=at, given=given, not_before=not_before)

    async def searches_optional_keys(self, *, wait_for_pace=False):
        return self.references

    async def find(self, keys, *, wait_for_pace=False):
        assert wait_for_pace
        self.looked_up.append([key.value for key in keys])
        rows = list(self.rows)
        await asyncio.sleep(self.look_seconds)
        if self.fails_to_find:
            error = self.fails_to_find.pop(0)
            if error is not None:
                raise error
        return {key: [row for row in rows if getattr(row, key.field) == key.value] for key in keys}

    async def update(self, number, changes, *, wait_for_pace=False):
        assert wait_for_pace
        await asyncio.sleep(self.seconds)
        self.patched.append((number, changes))
        error = self.end_of(self.rows[number - 1])
        return error or ChangedRecord(1, Integration(id=number, name="x"))


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


def provision(api, specs, concurrency=4, on_progress=None, **options):
    return ProvisionRun(api, specs, Options(concurrency=concurrency, on_progress=on_progress, **options))


async def statuses(run):
    return [outcome.status.value for outcome in sorted(await collect(run), key=lambda outcome: outcome.index)]


def left():
    """Tasks of runs."""
    return [task.get_name() for task in asyncio.all_tasks() if "provision" in task.get_name()]


@virtual
class TestOutcomes:
    @pytest.mark.parametrize("source", [list, iter, tuple, Source, AsyncSource], ids=lambda kind: kind.__name__)
    async def test_one_for_each_record_of_any_iterable(self, source):
        outcomes = await collect(provision(Api(), source(records(10))))
        assert sorted(outcome.index for outcome in outcomes) == list(range(10))
        assert {outcome.key for outcome in outcomes} == {f"Shop {number}" for number in range(10)}
        assert {outcome.status for outcome in outcomes} == {OutcomeStatus.CREATED}

    async def test_an_empty_input_ends_at_once(self):
        run = provision(Api(), [])
        assert await collect(run) == []
        assert run.report.total == 0
        assert run.report.ok

    async def test_they_come_as_they_are_known(self):
        class Uneven(Api):
            async def send(self, creation, *, wait_for_pace=False):
                await asyncio.sleep(9.0 if creation.new.name == "Shop 0" else 0.0)
                await super().send(creation, wait_for_pace=wait_for_pace)

        assert [outcome.index for outcome in await collect(provision(Uneven(), records(4), 2))] == [1, 2, 3, 0]

    async def test_it_says_what_was_made_and_what_it_took(self):
        [outcome] = await collect(provision(Api(), [record(1, external_system_reference1="ref-1")]))
        assert outcome == Outcome(
            index=0,
            key="ref-1",
            status=OutcomeStatus.CREATED,
            id=1,
            resource="integrations",
            matched_by=None,
            attempts=1,
        )

    @pytest.mark.parametrize(
        "error",
        [
            ValidationError("422", status=422, attempts=1),
            ServerError("503", status=503, attempts=4),
            RateLimitedError("429", status=429, attempts=2),
            ConnectionFailedError("no connection", attempts=4),
            DeadlineExceededError("out of time", attempts=0),
        ],
        ids=lambda error: type(error).__name__,
    )
    async def test_a_failing_record_stops_no_other(self, error):
        outcomes = await collect(provision(Api({"Shop 3": error}), records(10)))
        by_index = {outcome.index: outcome for outcome in outcomes}
        assert len(outcomes) == len(by_index) == 10
        bad = by_index.pop(3)
        assert bad.status is OutcomeStatus.FAILED
        assert bad.error.type == type(error).__name__
        assert bad.error.applied is error.applied
        assert bad.attempts == error.attempts
        assert {outcome.status for outcome in by_index.values()} == {OutcomeStatus.CREATED}

    @pytest.mark.parametrize("junk", [None, {"name": "Shop"}, "Shop", 5], ids=repr)
    async def test_what_is_no_record_fails_and_is_not_sent(self, junk):
        api = Api()
        outcomes = await collect(provision(api, [record(1), junk, record(2)]))
        [bad] = [outcome for outcome in outcomes if outcome.index == 1]
        assert bad.status is OutcomeStatus.FAILED
        assert type(junk).__name__ in bad.error.message
        assert bad.attempts == 0
        assert api.names == ["Shop 1", "Shop 2"]

    async def test_a_key_that_was_there_fails_and_is_not_sent(self):
        api = Api()
        specs = [
            record(1, external_system_reference1="a"),
            record(2, external_system_reference1="a"),
            record(3, external_system_reference1="b"),
            NewIntegration(name="b", integration_type="shopify"),
        ]
        outcomes = {outcome.index: outcome for outcome in await collect(provision(api, specs))}
        assert [outcomes[i].status.value for i in range(4)] == ["created", "failed", "created", "failed"]
        assert "key" in outcomes[1].error.message
        assert api.names == ["Shop 1", "Shop 3"]

    async def test_a_key_that_failed_before_counts_too(self):
        api = Api({"Shop 1": ValidationError("422", status=422)})
        outcomes = await collect(provision(api, [record(1), record(1)], 1))
        assert [outcome.status.value for outcome in outcomes] == ["failed", "failed"]
        assert api.names == ["Shop 1"]

    async def test_a_record_is_looked_up_before_it_is_sent_and_those_that_are_near_with_it(self):
        api = Api()
        await collect(provision(api, records(10)))
        assert api.looked_up == [[f"Shop {number}" for number in range(10)]]

    async def test_a_thousand_records_are_looked_up_by_some_queries(self):
        api = Api(seconds=0.0)
        assert len(await collect(provision(api, records(1000), 64))) == 1000
        assert len(api.looked_up) <= 25


@virtual
class TestReaders:
    @pytest.mark.parametrize("concurrency", [1, 4])
    async def test_several_share_the_outcomes_and_all_come_to_the_end(self, concurrency):
        run = provision(Api(), records(20), concurrency)
        async with asyncio.timeout(1000.0), run:
            shares = await asyncio.gather(*(collect(run) for _ in range(3)))
        assert sorted(outcome.index for share in shares for outcome in share) == list(range(20))

    async def test_one_that_is_cancelled_leaves_its_outcome_to_the_next(self):
        run = provision(Api(), records(3), 1)
        async with run:
            impatient = asyncio.ensure_future(anext(run))
            await asyncio.sleep(0.5)
            impatient.cancel()
            outcomes = await collect(run)
        assert sorted(outcome.index for outcome in outcomes) == [0, 1, 2]


@virtual
class TestReport:
    async def test_it_adds_up(self):
        api = Api(
            {
                "Shop 1": ValidationError("422", status=422, attempts=1),
                "Shop 2": LostError(after=0.0),
            }
        )
        run = provision(api, [*records(6), record(0), None])
        outcomes = await collect(run)
        report = run.report
        assert report.total == len(outcomes) == 8
        counts = {"created": 4, "adopted": 1, "failed": 3, "total": 8, "attempts": 4 + 1 + 1}
        assert report.as_dict() == dict.fromkeys(OutcomeStatus, 0) | counts
        assert not report.ok

    async def test_progress_is_told_after_each_outcome(self):
        seen = []
        run = provision(
            Api(seconds=2.0),
            records(4),
            2,
            lambda progress: seen.append((progress.report.total, progress.elapsed, progress.rate)),
        )
        await collect(run)
        assert seen == [(1, 2.0, 0.5), (2, 2.0, 1.0), (3, 4.0, 0.75), (4, 4.0, 1.0)]

    @pytest.mark.parametrize("sized", [True, False], ids=["a list", "a generator"])
    async def test_progress_says_what_is_left_where_the_input_has_a_length(self, sized):
        etas = []
        specs = records(4) if sized else iter(records(4))
        await collect(provision(Api(seconds=2.0), specs, 1, lambda progress: etas.append(progress.eta)))
        assert etas == ([6.0, 4.0, 2.0, 0.0] if sized else [None] * 4)

    @pytest.mark.parametrize("paused", [0.0, 30.0])
    async def test_progress_says_until_when_nothing_is_sent(self, paused):
        api, told = Api(), []
        api.paused = paused
        await collect(provision(api, records(1), 1, told.append))
        if paused:
            left = told[0].paused_until - datetime.now(UTC)
            assert left == pytest.approx(timedelta(seconds=30.0), abs=timedelta(seconds=5.0))
        else:
            assert told[0].paused_until is None

    async def test_an_error_says_how_often_the_record_was_sent(self):
        lost = [LostError() for _ in range(4)]
        for error in lost:
            error.method, error.path = "POST", "/api/integrations"
        api = Api({"Shop 0": lost})
        [outcome] = await collect(provision(api, records(1)))
        assert (outcome.status.value, outcome.attempts) == ("failed", 4)
        assert "attempts: 4" in outcome.error.message

    def test_progress_stands_still_when_the_run_is_over_and_needs_no_event_loop(self):
        runs = []

        @virtual
        async def check():
            run = provision(Api(seconds=2.0), records(4), 1)
            assert run.progress.elapsed == 0.0
            await collect(run)
            ended = run.progress
            assert (ended.elapsed, ended.rate) == (8.0, 0.5)
            await asyncio.sleep(100.0)
            runs.append((run, ended))

        check()
        [(run, ended)] = runs
        assert run.progress == ended

    @pytest.mark.parametrize(
        "error", [RuntimeError("the screen is gone"), StopAsyncIteration(), asyncio.CancelledError()], ids=repr
    )
    def test_progress_that_raises_costs_no_outcome_and_is_logged_once(self, error, caplog):
        def raises(progress):
            raise error

        @virtual
        async def check():
            run = provision(Api(), records(20), on_progress=raises)
            assert len(await collect(run)) == run.report.total == 20

        check()
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        assert "on_progress raised" in caplog.text

    def test_progress_that_nobody_could_be_told_is_refused(self):
        async def tell(progress):
            pass

        for on_progress, reason in ((tell, "must not be async"), ("print", "must be a function")):
            with pytest.raises(InvalidInputError, match=f"on_progress: {reason}"):
                provision(Api(), records(1), on_progress=on_progress)


@virtual
class TestNothingPilesUp:
    async def test_no_more_at_once_than_were_asked_for(self):
        api = Api()
        await collect(provision(api, records(50), 7))
        assert api.most_at_once == 7

    async def test_lookups_count_among_those_and_never_keep_the_last_worker_from_sending(self):
        class Watched(Api):
            looking = 0
            most_together = 0

            async def find(self, keys, *, wait_for_pace=False):
                self.looking += 1
                try:
                    return await super().find(keys, wait_for_pace=wait_for_pace)
                finally:
                    self.looking -= 1

            async def send(self, creation, *, wait_for_pace=False):
                together = self.at_once + 1 + self.looking
                self.most_together = max(self.most_together, together if self.at_once else 0)
                await super().send(creation, wait_for_pace=wait_for_pace)

        wide, narrow = Watched(look_seconds=1.0), Watched(look_seconds=3.0)
        await collect(provision(wide, records(500), 7))
        assert (wide.most_together, wide.most_at_once) == (7, 7)
        await collect(provision(narrow, records(500), 1))
        assert narrow.most_at_once == 1
        assert now() < 500 / 6 + 500 + 30

    async def test_a_slow_reader_has_them_in_the_order_in_which_they_were_known(self):
        class Numbered(Api):
            async def send(self, creation, *, wait_for_pace=False):
                await super().send(creation, wait_for_pace=wait_for_pace)
                self.ended = [*getattr(self, "ended", []), creation.new.name]

        api, read = Numbered(seconds=1.0), []
        async for outcome in provision(api, records(300), 8):
            read.append(outcome.key)
            await asyncio.sleep(0.14)
        assert read == api.ended

    async def test_a_slow_reader_stops_the_pulling(self):
        api = Api(seconds=0.0)
        source = Source(record(number) for number in itertools.count())
        async with provision(api, source, 5) as run:
            for read in range(1, 6):
                await anext(run)
                await asyncio.sleep(1000.0)
                assert len(api.names) <= read + 2 * 5
        assert source.pulled <= READ_AHEAD

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
        outcomes = await collect(provision(Api(), source, 64))
        assert len(outcomes) == 3
        assert source.asked == 4
        assert turns < 300

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

        assert len(await collect(provision(Api(), Exclusive(records(10), 1.0), 8))) == 10

    async def test_an_outcome_comes_before_a_slow_source_has_its_next_record(self):
        source = AsyncSource(records(2), seconds=100.0)
        async with provision(Api(), source, 4) as run:
            await anext(run)
            assert now() == 101.0


FATAL = [
    AuthenticationError("the token endpoint refused us"),
    PermissionDeniedError("403", status=403),
    ConfigurationError("the server redirects"),
    ConfigurationError("the server's certificate is not valid"),
]


@virtual
class TestFatal:
    @pytest.mark.parametrize("error", FATAL, ids=str)
    async def test_it_stops_the_intake_finishes_what_is_in_flight_and_is_raised(self, error):
        api = Api({"Shop 1": error})
        source = Source(record(number) for number in itertools.count())
        run = provision(api, source, 4)
        outcomes = []
        with pytest.raises(type(error)) as raised:
            async for outcome in run:
                outcomes += [outcome]
        assert raised.value is error
        assert sorted(outcome.index for outcome in outcomes) == list(range(run.begun))
        assert run.begun <= 8
        assert source.pulled <= READ_AHEAD
        assert {outcome.status for outcome in outcomes if outcome.index != 1} == {OutcomeStatus.CREATED}
        assert api.at_once == 0

    async def test_it_is_raised_once(self):
        run = provision(Api({"Shop 0": FATAL[0]}), records(1), 1)
        with pytest.raises(AuthenticationError):
            await collect(run)
        assert await collect(run) == []

    async def test_one_of_many_is_raised(self):
        fails = {f"Shop {number}": AuthenticationError(f"refused {number}") for number in range(4)}
        run = provision(Api(fails), records(20), 4)
        outcomes = []
        with pytest.raises(AuthenticationError, match="refused 0"):
            async for outcome in run:
                outcomes += [outcome]
        assert len(outcomes) == 4

    async def test_it_is_not_fatal_where_the_record_may_be_there(self):
        api = Api({"Shop 0": AuthenticationError("refused", applied=Applied.MAYBE, attempts=1)})
        assert await statuses(provision(api, records(3), 1)) == ["created"] * 3

    @pytest.mark.parametrize("error", FATAL, ids=str)
    async def test_a_look_before_that_would_fail_every_record_is_raised_and_nothing_is_sent(self, error):
        api = Api()
        api.fails_to_find = [error]
        run = provision(api, records(100))
        with pytest.raises(type(error)) as raised:
            await collect(run)
        assert raised.value is error
        assert (api.names, run.begun, run.report.total) == ([], 0, 0)

    async def test_a_pause_that_outlasts_max_wait_is_one(self):
        error = RateLimitedError("429", status=429, retry_after=300.0, attempts=1)
        with pytest.raises(RateLimitedError):
            await collect(provision(Api({"Shop 0": error}, max_wait=300.0), records(3), 1))

    async def test_a_shorter_one_is_not(self):
        error = RateLimitedError("429", status=429, retry_after=299.0, attempts=1)
        run = provision(Api({"Shop 0": error}, max_wait=300.0), records(3), 1)
        assert await statuses(run) == ["failed", "created", "created"]


@virtual
class TestSourcesThatFail:
    @pytest.mark.parametrize("concurrency", [1, 4])
    @pytest.mark.parametrize("is_async", [False, True], ids=["iterable", "async iterable"])
    async def test_what_a_source_raises_is_raised_when_all_before_has_its_outcome(self, is_async, concurrency):
        def broken():
            yield from records(3)
            raise LookupError("line 4")

        async def broken_later():
            for new in broken():
                yield new

        outcomes = []
        with pytest.raises(LookupError, match="line 4"):
            async for outcome in provision(Api(), broken_later() if is_async else broken(), concurrency):
                outcomes += [outcome]
        assert sorted(outcome.index for outcome in outcomes) == [0, 1, 2]

    async def test_what_a_source_raises_is_raised_when_what_is_in_flight_has_ended(self):
        async def broken():
            yield record(0)
            await asyncio.sleep(0.5)
            raise LookupError("line 2")

        run = provision(Api(), broken())
        assert (await anext(run)).status is OutcomeStatus.CREATED
        with pytest.raises(LookupError, match="line 2"):
            await anext(run)
        assert run.begun == 1

    @pytest.mark.parametrize("is_async", [False, True], ids=["iterable", "async iterable"])
    async def test_a_source_whose_inner_work_was_cancelled_ends_the_run(self, is_async):
        """An async source that awaits a task of its own raises CancelledError where somebody cancelled that task."""

        def broken():
            yield record(0)
            raise asyncio.CancelledError

        async def broken_later():
            yield record(0)
            inner = asyncio.ensure_future(asyncio.sleep(100.0))
            inner.cancel()
            await inner

        run = provision(Api(), broken_later() if is_async else broken(), 2)
        async with asyncio.timeout(1000.0), run:
            with pytest.raises((asyncio.CancelledError, ClarusError, RuntimeError)):
                await collect(run)
        assert now() < 1000.0

    async def test_a_source_may_stop_the_run_that_it_feeds(self):
        def source():
            nonlocal pulled
            for pulled in itertools.count():
                if pulled == 300:
                    run.stop()
                yield record(pulled)

        api, pulled = Api(), 0
        run = provision(api, source(), 4)
        outcomes = await collect(run)
        assert 0 < len(outcomes) == len(api.names) < 300
        assert pulled == 300

    async def test_an_iterator_that_can_not_be_made_is_raised(self):
        class Unopened:
            def __iter__(self):
                raise OSError("no such file")

        with pytest.raises(OSError, match="no such file"):
            await collect(provision(Api(), Unopened()))

    async def test_what_a_api_raises_that_is_no_error_of_ours_is_raised(self):
        with pytest.raises(ZeroDivisionError):
            await collect(provision(Api({"Shop 0": ZeroDivisionError()}), records(5), 2))


@virtual
class TestMaxFailures:
    @pytest.mark.parametrize("most", [0, 2])
    async def test_more_than_these_stop_it(self, most):
        fails = {f"Shop {number}": ValidationError("422", status=422, attempts=1) for number in range(100)}
        run = provision(Api(fails), records(100), 1, max_failures=most)
        with pytest.raises(ClarusError, match=f"max_failures={most}"):
            await collect(run)
        assert run.report.counts[OutcomeStatus.FAILED] == run.begun == most + 1

    async def test_as_many_as_these_do_not(self):
        fails = {f"Shop {number}": ValidationError("422", status=422, attempts=1) for number in range(2)}
        assert len(await collect(provision(Api(fails), records(20), 1, max_failures=2))) == 20

    @pytest.mark.parametrize("concurrency", [1, 8, 64])
    @pytest.mark.parametrize("kind", ["refused", "conflict", "twice"])
    async def test_no_more_fail_than_were_under_way(self, concurrency, kind):
        api = Api({f"Shop {n}": ValidationError("422", status=422, attempts=1) for n in range(1000)})
        if kind == "conflict":
            for n in range(2000):
                api.store(record(n // 2))
        input_ = [record(0) for _ in range(1000)] if kind == "twice" else records(1000)
        run = provision(api, input_, concurrency, max_failures=3)
        outcomes = []
        with pytest.raises(ClarusError, match="max_failures=3") as raised:
            async for outcome in run:
                outcomes.append(outcome)
                await asyncio.sleep(0.1)  # a reader that is far behind
        assert not isinstance(raised.value, InvalidInputError)
        assert 3 < len(outcomes) == run.report.total <= 3 + concurrency + (kind == "twice")


@virtual
class TestDoubt:
    async def test_a_lost_answer_is_found(self):
        [outcome] = await collect(provision(Api({"Shop 0": LostError(after=0.0)}), records(1)))
        assert outcome == Outcome(
            index=0,
            key="Shop 0",
            status=OutcomeStatus.ADOPTED,
            id=1,
            resource="integrations",
            matched_by="name",
            attempts=1,
        )

    async def test_by_its_reference_where_that_can_be_searched(self):
        api = Api({"Shop 0": LostError(after=0.0)}, references=True)
        [outcome] = await collect(provision(api, [record(0, external_system_reference1="ref-0")]))
        assert (outcome.status, outcome.matched_by) == (OutcomeStatus.ADOPTED, "reference")
        assert api.looked_up == [["ref-0"], ["ref-0"]]

    async def test_what_is_not_there_is_sent_again_when_it_has_settled(self):
        api = Api({"Shop 0": LostError()})
        assert await statuses(provision(api, records(1))) == ["created"]
        assert api.sent_at == pytest.approx([0.0, 1.0 + SETTLE], abs=LINGER)

    async def test_what_comes_late_and_within_settle_is_found(self):
        api = Api({"Shop 0": LostError(after=SETTLE - 1.0)})
        assert await statuses(provision(api, records(1))) == ["adopted"]
        assert api.made == ["Shop 0"]

    async def test_what_comes_later_than_that_is_named(self):
        api = Api({"Shop 0": LostError(after=SETTLE + 10.0)})
        [outcome] = await collect(provision(api, records(1)))
        assert outcome.status is OutcomeStatus.DUPLICATED
        assert {outcome.id, *outcome.others} == {1, 2}
        assert "sent 2 times" in outcome.error.message

    async def test_what_never_is_there_is_failed_after_all_its_sends(self):
        api = Api({"Shop 0": [LostError() for _ in range(9)]})
        [outcome] = await collect(provision(api, records(1)))
        assert (outcome.status, outcome.attempts, len(api.names)) == (OutcomeStatus.FAILED, 4, 4)
        assert outcome.error.applied is Applied.NO

    async def test_what_can_not_be_looked_up_is_unresolved(self):
        api = Api({"Shop 0": LostError(after=0.0)})
        api.fails_to_find = [None, *[ServerError("503", status=503) for _ in range(50)]]
        [outcome] = await collect(provision(api, records(1)))
        assert outcome.status is OutcomeStatus.UNRESOLVED
        assert "looking it up failed: 503" in outcome.error.message
        assert outcome.error.applied is Applied.MAYBE

    async def test_a_thousand_or_ten_times_the_concurrency_are_in_doubt_or_under_way_at_most(self):
        # Far enough apart that it is no outage.
        api = Api({f"Shop {number}": LostError() for number in range(3000) if number % 5}, seconds=0.01)
        run = provision(api, records(3000), 2)
        assert await statuses(run) == ["created"] * 3000
        assert api.most_under_way == 1000

    async def test_one_in_doubt_holds_up_nobody_and_is_told(self):
        api = Api({"Shop 7": LostError()})
        outcomes, told = [], []
        async with provision(api, records(100), 10) as run:
            assert run.progress.in_doubt == 0
            while len(outcomes) < 99:
                outcomes.append(await anext(run))
            assert now() <= 20.0
            left_at = now()
            told.append(run.progress)
            waiting = asyncio.create_task(collect(run))
            await asyncio.sleep(30.0)
            told.append(run.progress)
            outcomes += await waiting
            left_at = now() - left_at
            told.append(run.progress)
        assert [progress.in_doubt for progress in told] == [1, 1, 0]
        left = [(progress.settles_at - datetime.now(UTC)).total_seconds() for progress in told[:2]]
        assert left[0] - left[1] == pytest.approx(30.0, abs=5.0)
        # It is sent again, and looked up once more.
        assert told[0].eta == pytest.approx(left_at, abs=LINGER)
        assert left[0] == pytest.approx(left_at, abs=LINGER)
        assert told[0].bottleneck is Bottleneck.SETTLING
        assert told[2].settles_at is None
        assert told[2].eta == 0.0
        assert [outcome.status for outcome in outcomes] == ["created"] * 100
        assert outcomes[-1].key == "Shop 7"

    async def test_many_in_doubt_hold_up_nobody_however_narrow_the_run_is(self):
        # One in two, so that it is no outage.
        api = Api({f"Shop {number}": LostError() for number in range(0, 200, 2)}, seconds=0.01)
        run = provision(api, records(200), 1)
        well = [outcome.index for outcome in [await anext(run) for _ in range(100)]]
        assert now() <= 10.0
        assert well == list(range(1, 200, 2))
        assert run.progress.in_doubt == 100
        await run.aclose()


@virtual
class TestProbing:
    async def test_after_a_streak_one_at_a_time_is_sent(self):
        class Broken(Api):
            async def send(self, creation, *, wait_for_pace=False):
                if len(self.names) >= FAILURES_TO_OPEN + 4:
                    assert self.at_once == 0
                await super().send(creation, wait_for_pace=wait_for_pace)

        api = Broken({f"Shop {number}": [LostError() for _ in range(4)] for number in range(30)})
        async with provision(api, records(30), 4) as run:
            reading = asyncio.create_task(collect(run))
            await asyncio.sleep(300.0)
            later = api.sent_at[FAILURES_TO_OPEN + 4 :]
            assert len(later) >= 5
            assert min(b - a for a, b in itertools.pairwise(later)) >= 10.0
            await run.aclose()
            await reading

    async def test_one_that_goes_well_ends_it(self):
        api = Api({f"Shop {number}": LostError() for number in range(FAILURES_TO_OPEN + 4)})
        assert await statuses(provision(api, records(100), 4)) == ["created"] * 100
        assert now() < 400.0

    async def test_those_that_stood_in_line_go_side_by_side_when_one_went_well(self):
        class Watched(Api):
            afterwards = 0

            async def send(self, creation, *, wait_for_pace=False):
                if len(self.names) >= 2 * FAILURES_TO_OPEN:
                    self.afterwards = max(self.afterwards, self.at_once + 1)
                await super().send(creation, wait_for_pace=wait_for_pace)

        # Each worker sends once, and all but one again before the streak is known; then one probes, and nine wait.
        api = Watched({f"Shop {number}": LostError(after=30.0) for number in range(2 * FAILURES_TO_OPEN - 1)})
        assert (
            len(await collect(provision(api, records(3 * FAILURES_TO_OPEN), FAILURES_TO_OPEN))) == 3 * FAILURES_TO_OPEN
        )
        assert api.afterwards == FAILURES_TO_OPEN

    async def test_refusals_are_answers(self):
        fails = {f"Shop {number}": ValidationError("422", status=422, attempts=1) for number in range(100)}
        await collect(provision(Api(fails), records(100), 4))
        assert now() == 25.0


@virtual
class TestNamesakes:
    async def test_records_that_are_looked_up_by_one_name_are_sent_one_after_the_other(self):
        api = Api()
        same = [record(1, external_system_reference1=f"ref-{number}") for number in range(3)]
        assert await statuses(provision(api, same)) == ["created"] * 3
        assert api.most_at_once == 1

    async def test_what_is_found_for_one_in_doubt_is_its_own(self):
        api = Api({"Shop 1": [None, LostError(after=0.0), None]})
        same = [record(1, external_system_reference1=f"ref-{number}") for number in range(3)]
        outcomes = sorted(await collect(provision(api, same)), key=lambda outcome: outcome.index)
        assert [(outcome.status.value, outcome.id) for outcome in outcomes] == [
            ("created", 1), ("adopted", 2), ("created", 3)
        ]  # fmt: skip

    async def test_where_references_can_be_searched_they_go_side_by_side(self):
        api = Api(references=True)
        same = [record(1, external_system_reference1=f"ref-{number}") for number in range(4)]
        assert await statuses(provision(api, same)) == ["created"] * 4
        assert api.most_at_once == 4

    async def test_others_do_not_wait_for_them(self):
        api = Api()
        same = [record(1, external_system_reference1=f"ref-{number}") for number in range(3)]
        await collect(provision(api, [*same, record(2), record(3)]))
        assert now() == 3.0

    async def test_where_it_is_not_clear_which_is_there_the_next_is_a_conflict(self):
        api = Api()
        api.store(record(1), at=-1000.0)
        same = [record(1, external_system_reference1=f"ref-{number}") for number in range(2)]
        run = provision(api, same)
        outcomes = sorted(await collect(run), key=lambda outcome: outcome.index)
        assert [outcome.status.value for outcome in outcomes] == ["adopted", "conflict"]
        assert "same name" in outcomes[1].error.message
        assert api.names == []

    async def test_one_that_was_there_is_not_adopted_for_a_lost_answer(self):
        api = Api({"Shop 1": LostError(after=0.0)})
        api.store(record(1), at=-1000.0)
        [outcome] = await collect(provision(api, [record(1)], existing="ignore"))
        assert (outcome.status, outcome.id) == (OutcomeStatus.ADOPTED, 2)


@virtual
class TestExisting:
    async def run(self, existing, **more):
        api = Api(references=True)
        api.store(record(0, external_system_reference1="ref-0"), at=-1000.0)
        specs = [record(number, external_system_reference1=f"ref-{number}", **more) for number in range(2)]
        outcomes = await collect(provision(api, specs, existing=existing))
        return api, sorted(outcomes, key=lambda outcome: outcome.index)

    async def test_adopt(self):
        api, [there, new] = await self.run("adopt")
        assert (there.status.value, there.id, there.matched_by) == ("adopted", 1, "reference")
        assert (new.status.value, api.names, there.attempts) == ("created", ["Shop 1"], 0)

    async def test_update_names_what_can_not_be_patched(self):
        api, [there, new] = await self.run("update", account_id=7, string1="x")
        assert (there.status.value, there.id, there.attempts) == ("updated", 1, 1)
        assert list(there.unpatched) == ["integration_type", "account_id", "external_system_reference1"]
        [(number, changes)] = api.patched
        assert (number, changes.string1, new.status.value) == (1, "x", "created")

    @pytest.mark.parametrize(
        ("error", "status"),
        [
            (ValidationError("422", status=422, attempts=1), "failed"),
            (OutcomeUnknownError("500", applied=Applied.MAYBE, attempts=4), "unresolved"),
        ],
    )
    async def test_update_that_is_refused_is_failed_and_that_may_have_been_made_is_unresolved(self, error, status):
        api = Api({"Shop 0": error})
        api.store(record(0), at=-1000.0)
        [outcome] = await collect(provision(api, [record(0)], existing="update"))
        assert (outcome.status.value, outcome.id, outcome.attempts) == (status, 1, error.attempts)

    async def test_fail(self):
        api, [there, new] = await self.run("fail")
        assert (there.status.value, list(there.others)) == ("failed", [1])
        assert "is there already" in there.error.message
        assert (new.status.value, api.names) == ("created", ["Shop 1"])

    async def test_ignore_looks_at_nothing_before(self):
        api, outcomes = await self.run("ignore")
        assert [outcome.status.value for outcome in outcomes] == ["created", "created"]
        assert api.looked_up == []

    @pytest.mark.parametrize("existing", ["adopt", "update", "fail"])
    async def test_several_are_a_conflict_and_nothing_is_sent(self, existing):
        api = Api()
        for _ in range(2):
            api.store(record(0), at=-1000.0)
        [outcome] = await collect(provision(api, [record(0)], existing=existing))
        assert (outcome.status.value, list(outcome.others)) == ("conflict", [1, 2])
        assert (api.names, api.patched) == ([], [])

    async def test_a_reference_on_a_record_of_another_name_is_a_conflict(self):
        api = Api(references=True)
        api.store(record(9, external_system_reference1="ref-0"), at=-1000.0)
        [outcome] = await collect(provision(api, [record(0, external_system_reference1="ref-0")]))
        assert (outcome.status.value, list(outcome.others), api.names) == ("conflict", [1], [])

    async def test_a_look_before_that_fails_to_the_end_fails_its_records_and_nothing_is_sent(self):
        api = Api()
        api.fails_to_find = [ServerError("503", status=503) for _ in range(50)]
        outcomes = await collect(provision(api, records(3)))
        assert {(outcome.status.value, outcome.error.message) for outcome in outcomes} == {("failed", "503")}
        assert api.names == []

    async def test_a_look_before_that_fails_now_and_then_is_made_again(self):
        api = Api()
        api.fails_to_find = [ServerError("503", status=503) for _ in range(3)]
        assert await statuses(provision(api, records(3))) == ["created"] * 3

    async def test_a_look_is_not_made_again_before_the_server_takes_requests(self):
        api = Api()
        api.fails_to_find = [ServerError("503", status=503, retry_after=150.0)]
        assert await statuses(provision(api, records(1))) == ["created"]
        assert (len(api.looked_up), api.sent_at) == (2, [150.0])

    async def test_a_server_that_takes_no_requests_for_longer_than_max_wait_is_not_waited_for(self):
        api = Api()
        api.fails_to_find = [ServerError("503", status=503, retry_after=301.0)]
        assert await statuses(provision(api, records(1))) == ["failed"]
        assert (len(api.looked_up), now()) == (1, 0.0)


@virtual
class TestDryRun:
    async def test_it_says_what_would_be_created_and_sends_nothing(self):
        api = Api()
        api.store(record(0), at=-1000.0)
        outcomes = sorted(await collect(provision(api, records(2), dry_run=True)), key=lambda outcome: outcome.index)
        assert [(outcome.status.value, outcome.id, outcome.attempts) for outcome in outcomes] == [
            ("adopted", 1, 0), ("would_create", None, 0)
        ]  # fmt: skip
        assert api.names == []

    async def test_it_says_so_field_by_field_and_shows_no_secret(self):
        api = Api()
        api.store(record(0), at=-1000.0)
        specs = [record(0, is_active=False, string1="x", configuration={"key": "canary"}), record(1, account_id=7)]
        first, second = sorted(
            await collect(provision(api, specs, existing="update", dry_run=True)), key=lambda outcome: outcome.index
        )

        assert {change.attribute: (change.before, change.after) for change in second.changes} == {
            "name": (None, "Shop 1"), "integration_type": (None, "shopify"), "account_id": (None, 7),
        }  # fmt: skip
        changes = {change.attribute: (change.before, change.after) for change in first.changes}
        assert changes["string1"] == (UNSET, "x")
        assert changes["configuration"] == (UNSET, UNSET)
        assert "canary" not in repr(first) + first.to_json().decode()

    async def test_it_says_what_would_be_updated(self):
        api = Api()
        api.store(record(0), at=-1000.0)
        [outcome] = await collect(provision(api, [record(0, account_id=1)], existing="update", dry_run=True))
        assert (outcome.status.value, outcome.id) == ("would_update", 1)
        assert list(outcome.unpatched) == ["integration_type", "account_id"]
        assert api.patched == []

    async def test_records_of_one_name_do_not_wait_for_each_other(self):
        same = [record(1, external_system_reference1=f"ref-{number}") for number in range(3)]
        assert await statuses(provision(Api(), same, dry_run=True)) == ["would_create"] * 3

    async def test_it_makes_no_journal(self, tmp_path):
        await collect(provision(Api(), records(3), dry_run=True, journal=tmp_path / "run.db"))
        assert list(tmp_path.iterdir()) == []


def looking():
    class Slow(Api):
        async def find(self, keys, *, wait_for_pace=False):
            self.look_seconds = 10.0 if self.names else 0.0
            return await super().find(keys, wait_for_pace=wait_for_pace)

    return Slow({"Shop 0": LostError(after=0.0)}), records(1), 5.0


def failing_to_look():
    api = Api({"Shop 0": LostError(after=0.0)})
    api.fails_to_find = [None, *[ServerError("503", status=503) for _ in range(11)]]
    return api, records(1), 6.0


LOST_FOR_GOOD = [LostError() for _ in range(4)]

PHASES = {
    "looking_before": lambda: (Api(look_seconds=10.0), records(5), 5.0),
    "sending": lambda: (Api(), records(5), 0.5),
    "settling": lambda: (Api({f"Shop {number}": LostError() for number in range(5)}), records(5), 30.0),
    "about_to_look": lambda: (Api({"Shop 0": LostError(after=0.0)}), records(1), 1.3),
    "looking": looking,
    "failing_to_look": failing_to_look,
    "sending_again": lambda: (Api({"Shop 0": LostError()}, seconds=5.0), records(1), 5.0 + SETTLE + 2.0),
    "probing": lambda: (Api({f"Shop {n}": [*LOST_FOR_GOOD] for n in range(20)}), records(20), 20.0),
    "holding_back": lambda: (Api(), [record(1, external_system_reference1=f"ref-{n}") for n in range(5)], 1.5),
    "waiting_for_a_source": lambda: (Api(), AsyncSource(records(5), 10.0), 15.0),
}


@virtual
class TestLeaving:
    async def test_cancelling_the_reader_leaves_no_worker(self):
        api = Api()

        async def read():
            async with provision(api, records(100)) as run:
                await collect(run)

        task = asyncio.create_task(read())
        await asyncio.sleep(2.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert api.at_once == 0

    async def test_a_full_queue_does_not_hold_up_leaving(self):
        async with provision(Api(seconds=0.0), records(100), 3) as run:
            await anext(run)
            await asyncio.sleep(10.0)
        assert now() == 10.0

    async def test_closing_ends_the_wait_of_who_reads(self):
        api = Api(seconds=1000.0)
        run = provision(api, records(4))
        reading = asyncio.create_task(collect(run))
        await asyncio.sleep(1.0)
        await run.aclose()
        try:
            async with asyncio.timeout(10.0):
                assert await reading == []
        finally:
            reading.cancel()

    async def test_after_closing_there_is_nothing_to_read(self):
        run = provision(Api(), records(10))
        await anext(run)
        await run.aclose()
        await run.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(run)

    @pytest.mark.parametrize("end", [ProvisionRun.aclose, ProvisionRun.stop], ids=["aclose", "stop"])
    def test_before_the_first_read_nothing_is_made_to_find_nothing(self, end, tmp_path):
        @virtual
        async def check():
            source = Source(records(10))
            run = provision(Api(), source, journal=tmp_path / "run.db")
            if (ending := end(run)) is not None:
                await ending
            assert await collect(run) == []
            await settle()
            assert left() == []
            assert source.pulled == 0

        check()
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.usefixtures("inline_journal")
    @pytest.mark.parametrize("journal", [False, True], ids=["", "journal"])
    async def test_a_run_that_is_dropped_ends(self, journal, tmp_path):
        api = Api()
        path = tmp_path / "run.db" if journal else None
        async for _ in provision(api, records(50), journal=path):
            break
        await asyncio.sleep(1.0)
        assert left() == []
        assert api.at_once == 0
        # And its journal is free.
        assert len(await collect(provision(api, records(50), journal=path))) == 50

    def test_one_that_is_dropped_when_its_loop_is_closed_says_nothing(self):
        runs = []

        async def read():
            runs.append(provision(Api(), records(10)))
            await anext(runs[0])

        asyncio.run(read())
        runs.clear()

    async def test_an_async_source_is_told_that_it_is_over(self):
        ended = []

        async def source():
            try:
                for number in itertools.count():
                    await asyncio.sleep(1.0)
                    yield record(number)
            finally:
                ended.append(now())

        async with provision(Api(seconds=0.0), source(), 2) as run:
            await anext(run)
        await settle()
        assert ended == [1.0]

    @pytest.mark.usefixtures("inline_journal")
    @pytest.mark.parametrize("journal", [False, True], ids=["", "journal"])
    @pytest.mark.parametrize("phase", PHASES)
    async def test_in_any_phase_it_is_at_once_and_whole(self, phase, journal, tmp_path):
        api, specs, at = PHASES[phase]()
        run = provision(api, specs, 2, journal=tmp_path / "run.db" if journal else None)
        reading = asyncio.create_task(collect(run))
        await asyncio.sleep(at)
        await run.aclose()
        assert now() == at
        assert left() == []
        assert api.under_way == set()
        assert api.at_once == 0
        await reading


@virtual
class TestStopping:
    async def test_stop_ends_the_intake_and_what_is_in_flight_has_its_outcome(self):
        api = Api()
        run = provision(api, records(100), 4)
        outcomes = []
        async for outcome in run:
            outcomes.append(outcome)
            run.stop()
        assert run.begun == len(outcomes) == len(api.made) <= 8
        assert left() == []

    async def test_stop_while_the_source_is_asked_does_not_wait_for_its_answer(self):
        source = AsyncSource(records(5), seconds=10.0)
        run = provision(Api(), source, 2)
        asyncio.get_running_loop().call_later(5.0, run.stop)
        assert await collect(run) == []
        assert (source.pulled, now()) == (0, 5.0)

    async def test_stop_while_it_is_looked_up_sends_nothing(self):
        api = Api(look_seconds=10.0)
        run = provision(api, records(5))
        asyncio.get_running_loop().call_later(5.0, run.stop)
        assert await collect(run) == []
        assert (api.names, run.begun) == ([], 0)

    async def test_what_is_in_doubt_is_settled_first(self):
        api = Api({"Shop 0": LostError()})
        run = provision(api, records(100), 1)
        asyncio.get_running_loop().call_later(1.2, run.stop)
        outcomes = {outcome.index: outcome for outcome in await collect(run)}
        assert outcomes[0].status is OutcomeStatus.CREATED
        assert len(outcomes) == run.begun <= 3

    async def test_records_that_wait_for_another_of_their_name_are_not_sent(self):
        api = Api()
        run = provision(api, [record(1, external_system_reference1=f"ref-{n}") for n in range(5)])
        asyncio.get_running_loop().call_later(0.5, run.stop)
        assert [outcome.index for outcome in await collect(run)] == [0]
        assert (api.names, run.begun) == (["Shop 1"], 1)


class TestValidation:
    @pytest.mark.parametrize("concurrency", [0, -1, 10_001, 1.5, True, "4", None], ids=repr)
    def test_concurrency_is_an_integer_in_range(self, concurrency):
        with pytest.raises(InvalidInputError, match="concurrency"):
            provision(Api(), [], concurrency).stop()

    @pytest.mark.parametrize("concurrency", [1, 10_000])
    def test_its_ends_are_allowed(self, concurrency):
        provision(Api(), [], concurrency).stop()

    @pytest.mark.parametrize(
        ("option", "value"),
        [
            ("existing", "replace"),
            ("existing", None),
            ("max_failures", -1),
            ("max_failures", 1.5),
            ("max_failures", True),
            ("journal", 5),
            ("journal", b"run.db"),
        ],
    )
    def test_an_option_that_can_not_be_is_refused_by_name(self, option, value):
        with pytest.raises(InvalidInputError, match=option):
            provision(Api(), [], **{option: value})

    @pytest.mark.parametrize("specs", [None, 5, record(1)], ids=lambda specs: type(specs).__name__)
    def test_the_input_is_iterable(self, specs):
        with pytest.raises(InvalidInputError, match="specs"):
            provision(Api(), specs)

    def test_making_one_needs_no_loop_and_pulls_nothing(self):
        source = Source(records(1))
        provision(Api(), source).stop()
        assert source.pulled == 0


@virtual
class TestLeftUnread:
    async def test_awaiting_a_run_gives_its_report(self):
        run = provision(Api(), records(5))

        report = await run
        assert (report.total, report is run.report) == (5, True)
        assert await run is report

    async def test_awaiting_goes_on_where_reading_stopped(self):
        async with provision(Api(), records(5)) as run:
            first = await anext(run)
            report = await run

        assert first.status is OutcomeStatus.CREATED
        assert report.total == 5

    async def test_awaiting_raises_what_reading_would(self):
        run = provision(Api({"Shop 1": PermissionDeniedError("no", status=403)}), records(9))

        for _ in range(2):
            with pytest.raises(PermissionDeniedError):
                await run

    async def test_leaving_a_run_that_nobody_read_raises(self):
        with pytest.raises(RuntimeError, match="iterate over it .* or await it"):
            async with provision(Api(), records(5)):
                pass

    async def test_dropping_a_run_that_nobody_read_warns(self):
        with pytest.warns(RuntimeWarning, match="left unread"):
            provision(Api(), records(5))

    @pytest.mark.parametrize("how", ["aclose", "stop", "raise", "read", "bad"])
    async def test_nothing_is_said_where_that_was_meant(self, how):
        api = Api()
        if how == "bad":
            with pytest.raises(InvalidInputError):
                provision(api, records(5), concurrency=0)
            return
        with pytest.raises(KeyError) if how == "raise" else contextlib.nullcontext():
            async with provision(api, records(5)) as run:
                if how == "aclose":
                    await run.aclose()
                elif how == "stop":
                    run.stop()
                elif how == "raise":
                    raise KeyError
                else:
                    await anext(run)
