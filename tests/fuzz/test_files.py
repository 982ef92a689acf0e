"""The small version of ``python -m tests.fuzz files``."""

from __future__ import annotations

from tests.fuzz.chaos import try_files


async def test_each_row_of_a_spoilt_file_is_sent_as_it_stands_or_named_whatever_kills_the_command(capfd):
    verdict = await try_files(2, 40, kills=1, seed=3, at_once=2, encodings=("utf-8",))

    assert verdict.kept, verdict.wrong
    assert verdict.files == verdict.kills == 2
    assert verdict.sent > 40
    assert verdict.named > 10
