"""Real rate limiters in front of an origin: nobody fails for one."""

import asyncio

from tests.peers.limiters import SCENARIOS
from tests.peers.scenario import Part
from tests.peers.support import skip_unless

IN_SECONDS = [scenario for scenario in SCENARIOS if scenario.part is Part.TEST]


async def test_a_record_that_a_limiter_refused_is_there_once_in_the_end():
    ready = [scenario for scenario in IN_SECONDS if not any(need.missing for need in scenario.needs)]

    # Each has a limiter of its own, and mostly waits for it.
    async with asyncio.timeout(90):
        rows = await asyncio.gather(*(scenario.run() for scenario in ready))

    wrong = {row.peer: scenario.wrong(row) for scenario, row in zip(ready, rows, strict=True)}
    assert not any(wrong.values()), wrong
    assert all(row.refused > 0 for row in rows)
    skip_unless(*(need for scenario in IN_SECONDS for need in scenario.needs))
