"""Real gateways and limiters in front of an origin: those of the scenarios that take a few seconds."""

import asyncio

from tests.peers import gateways, limiters
from tests.peers.scenario import Part
from tests.peers.support import skip_unless

IN_SECONDS = [scenario for scenario in (*gateways.SCENARIOS, *limiters.SCENARIOS) if scenario.part is Part.TEST]


async def test_a_record_whose_create_is_late_or_refused_is_there_once_in_the_end():
    ready = [scenario for scenario in IN_SECONDS if not any(need.missing for need in scenario.needs)]

    # They mostly wait, so they wait side by side.
    async with asyncio.timeout(90):
        rows = await asyncio.gather(*(scenario.run() for scenario in ready))

    wrong = {row.peer: scenario.wrong(row) for scenario, row in zip(ready, rows, strict=True)}
    assert not any(wrong.values()), wrong
    # A limiter that refuses nobody is none, unless the machine is too slow for it.
    assert all(row.refused > 0 or row.goodput < 1 for row in rows if row.goodput is not None)
    skip_unless(*(need for scenario in IN_SECONDS for need in scenario.needs))
