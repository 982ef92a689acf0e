"""The Celery application of the workers that are killed: as its users would make one with settings of their own."""

from __future__ import annotations

import os

from clarus_async import ClarusClient
from clarus_async.fleet.celery import BROKER, make_app
from clarus_async.fleet.redis import RedisPacing
from tests.chaos.provision_kill import TIMEOUTS


def _client() -> ClarusClient:
    return ClarusClient.from_env(timeouts=TIMEOUTS, pacing=RedisPacing(url=os.environ[BROKER]))


app = make_app(
    os.environ[BROKER],
    client=_client,
    lease=float(os.environ["CLARUS_TEST_LEASE"]),
    visibility=int(os.environ["CLARUS_TEST_VISIBILITY"]),
)
