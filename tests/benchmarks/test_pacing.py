"""Each client of the pacing benchmark does the job, and is counted right."""

import pytest

from benchmarks.pacing import CLIENTS, LIMITERS, OURS, measured, picture
from benchmarks.pacing_plot import svg


@pytest.mark.parametrize("client", CLIENTS)
async def test_a_client_creates_each_record_once(client):
    try:
        result, run = await measured("window", client, 20)
    except ModuleNotFoundError as missing:
        pytest.skip(f"not installed: {missing.name}")

    assert (result.failed, result.twice, result.refused) == (0, 0, 0.0)
    assert len(run.told) == 20
    assert 0 < result.most <= result.seconds


async def test_a_run_of_this_package_can_be_drawn():
    result, run = await measured("window", OURS, 20)

    assert "20 records" in svg(picture(LIMITERS["window"], run, result, 20))
