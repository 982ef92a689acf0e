"""Errors as other programs take them: task queues' results, pools of processes, handlers that add to what is raised."""

from __future__ import annotations

import concurrent.futures
import logging
import multiprocessing
import warnings

import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker

from clarus_async import (
    Applied,
    ClarusError,
    ConfigurationError,
    ConnectionFailedError,
    DeadlineExceededError,
    ErrorDetail,
    InputProblem,
    InvalidInputError,
    JournalError,
    OutcomeUnknownError,
    RateLimitedError,
    ResponseError,
    ValidationError,
)
from clarus_async.reconcile.pending import LookupKey, PendingCreate

# From Python 3.12 on; what pytest and its plugins run beside the tests holds no lock that a child wants.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork")

PENDING = PendingCreate("integrations", [LookupKey("name", "shop-1", "name")], "idempotency-key", found=(7,))
REQUEST = {"method": "POST", "path": "/api/integrations", "attempts": 2, "request_id": "abc-123"}


def made(name):
    """A new error of each kind, by name: what raises it may be in another process."""
    return {
        "plain": lambda: ClarusError("it went wrong"),
        "setting": lambda: ConfigurationError("max_connections: must be an integer"),
        "input": lambda: InvalidInputError.of("NewIntegration", [InputProblem("name", "must not be empty")]),
        "connection": lambda: ConnectionFailedError("refused", retryable=True, **REQUEST),
        "deadline": lambda: DeadlineExceededError("the deadline has passed", **REQUEST),
        "unknown": lambda: OutcomeUnknownError("lost", applied=Applied.MAYBE, pending=PENDING, **REQUEST),
        "journal": lambda: JournalError("run.db is in use"),
        "answer": lambda: ResponseError("can't be read", pointer="/data/id", expected="an integer", **REQUEST),
        "refused": lambda: ValidationError("422", status=422, errors=(ErrorDetail(context={"a": 1}),), **REQUEST),
        "limited": lambda: RateLimitedError("429", status=429, retry_after=2.5, **REQUEST),
    }[name]()


def raised(name):
    error = made(name)
    error.add_note("shop 17 of 40")
    raise error


def facts_of(error):
    return {name: value for name, value in vars(error).items() if not name.startswith("__")}


def assert_the_same(there, name):
    error = made(name)
    assert type(there) is type(error)
    assert (str(there), there.message, there.args) == (str(error), str(error), (str(error),))


def assert_whole(there, name):
    assert_the_same(there, name)
    assert facts_of(there) == facts_of(made(name))
    assert there.__notes__ == ["shop 17 of 40"]


every = pytest.mark.parametrize("name", [
    "plain", "setting", "input", "connection", "deadline", "unknown", "journal", "answer", "refused", "limited",
])  # fmt: skip


@pytest.fixture(scope="module", params=["json", "pickle"])
def task(request):
    # A worker in a thread of this process: what it answers with goes through its serializer all the same.
    app = Celery("errors", broker="memory://", backend="cache+memory://")
    app.conf.update(
        result_serializer=request.param,
        accept_content=["json", "pickle"],
        broker_connection_retry_on_startup=False,
        broker_transport_options={"polling_interval": 0.01},
        worker_hijack_root_logger=False,
    )
    task = app.task(name="raised")(raised)
    level = logging.root.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with start_worker(app, pool="solo", perform_ping_check=False, loglevel="CRITICAL", shutdown_timeout=30):
            # The worker sets it for all of the process.
            logging.root.setLevel(level)
            yield task


@every
def test_a_result_of_celery_is_our_error(task, name):
    result = task.delay(name)

    with pytest.raises(type(made(name))) as caught:
        result.get(timeout=20, interval=0.01)

    assert_the_same(caught.value, name)


@pytest.fixture(scope="module", params=["spawn", "fork"])
def processes(request):
    return multiprocessing.get_context(request.param)


@pytest.fixture(scope="module")
def pool(processes):
    with processes.Pool(1) as pool:
        yield pool


@pytest.fixture(scope="module")
def executor(processes):
    with concurrent.futures.ProcessPoolExecutor(1, processes) as executor:
        yield executor


@every
def test_a_pool_raises_it_whole(pool, name):
    with pytest.raises(type(made(name))) as caught:
        pool.apply(raised, (name,))

    assert_whole(caught.value, name)


@every
def test_an_executor_raises_it_whole(executor, name):
    with pytest.raises(type(made(name))) as caught:
        executor.submit(raised, name).result(timeout=30)

    assert_whole(caught.value, name)
