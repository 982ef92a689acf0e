"""A journal whose bytes were changed: it opens and holds what it held, or it is refused in words."""

from __future__ import annotations

import asyncio
import functools
import shutil
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

from hypothesis import strategies as st

from clarus_async.cli.html_report import page
from clarus_async.errors import JournalError
from clarus_async.provisioning.job_index import outcome_of
from clarus_async.provisioning.journal.file import JournalFile
from clarus_async.provisioning.journal.journal import Journal
from clarus_async.provisioning.journal.rows import Known, Row
from clarus_async.provisioning.journal.timeline import Stretch
from clarus_async.provisioning.report import Outcome
from clarus_async.provisioning.review import history_of
from tests.fuzz.engine import Target
from tests.fuzz.fitting import assert_fits
from tests.fuzz.mutation import spoil
from tests.support.virtual_world import memory

TENANT: Final = "acme"
URL: Final = "https://clarus.test"
ROWS: Final = 120
_GROUP: Final = 4
_ERROR: Final = {"type": "ServerError", "message": "no", "applied": "maybe", "retryable": True, "status": 500}


class Base(NamedTuple):
    """A journal as a run left it."""

    file: bytes  # its bytes
    wal: bytes | None  # those of its WAL; ``None`` where there is none


@functools.cache
def bases() -> dict[str, Base]:
    """A journal that was closed, and what a kill left of one."""
    with tempfile.TemporaryDirectory(dir=memory()) as folder:
        path = Path(folder) / "run.db"
        journal = JournalFile(path, TENANT, URL, "integrations")
        journal.open()
        journal.begin_run(1e9, "provision", "shops.csv")
        for first in range(1, ROWS + 1, _GROUP):
            numbers = range(first, first + _GROUP)
            journal.write([_entry(n) for n in numbers])
            journal.write([_result(n) for n in numbers if n % 5], Stretch(1e9 + first, 1.5, 4, 5, 1, 1, 0.5))
        running = Base(path.read_bytes(), path.with_name("run.db-wal").read_bytes())
        journal.close()
        return {"killed": running, "closed": Base(path.read_bytes(), None)}


def _entry(n: int) -> Row:
    return Row(
        n, f"key-{n}", f"Shop {n}" if n % 2 else None, "0" * 24, f"idem-{n}", [n, n + 1], 1.5 * n, {"name": f"{n:06x}"},
        sends=1, unknown=n % 7 == 0,
    )  # fmt: skip


def _result(n: int) -> Row:
    status = ("created", "adopted", "unresolved", "failed", "duplicated")[n % 5]
    others = (n + 1000, n + 2000) if status == "duplicated" else ()
    error = _ERROR if status in {"failed", "unresolved"} else None
    differs = ("is_active",) if status == "adopted" else ()
    return Row(
        n, f"key-{n}", status=status, sends=1, id=n + 10_000, matched_by="name" if n % 3 else None, attempts=2,
        ended=1e9 + n, took=0.5 * n,
        others=others, error=error, existing="adopt", ours=n % 2 == 0, differs=differs,
    )  # fmt: skip


_FOUND: Final = {"file": [["replace"], ["flip"], ["cut"]], "wal": [["replace"], ["flip"]]}


def check(given: tuple[str, str, list[tuple[str, int, int, bytes]]]) -> None:
    """Change bytes, and open."""
    state, which, changes = given
    base = bases()[state]
    with tempfile.TemporaryDirectory(dir=memory()) as folder:
        path = Path(folder) / "run.db"
        path.write_bytes(spoil(base.file, changes) if which == "file" else base.file)
        if base.wal is not None:
            path.with_name("run.db-wal").write_bytes(spoil(base.wal, changes) if which == "wal" else base.wal)
        try:
            known, rows = asyncio.run(_read(path))
        except JournalError as error:
            if str(path) not in error.message:
                raise AssertionError("it is not said which journal") from error
            return
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            Path(folder).mkdir()
    for row in rows.values():
        assert_fits(row)
    for each in known:
        assert_fits(each)
    # SQLite has no checksums of its pages: a text that was changed is read as it is. A record that is gone is found,
    # but where a WAL ends early, as it does where a crash left it, or is no longer in step.
    if [change[0] for change in changes] in _FOUND[which]:
        allowed = 0 if which == "file" else _GROUP
        assert len(rows) >= ROWS - allowed, f"{ROWS - len(rows)} records are gone"


async def _read(path: Path) -> tuple[list[Known], dict[int, Row]]:
    journal = Journal(JournalFile(path, TENANT, URL, "integrations"))
    try:
        known = await journal.open()
        rows = await journal.run(lambda: journal.file.fetch([one.n for one in known]))
        for outcome in [outcome_of(row, "integrations", 0) for row in rows.values()]:
            assert_fits(outcome)
            assert Outcome.from_json(outcome.to_json()) == outcome
        assert page(await history_of(journal, 50), "run.db")
        return known, rows
    finally:
        await journal.close()


_bytes = st.sampled_from([b"\x00", b"\xff", b"0", b"created", b"\x00" * 512, b"SQLite format 3\x00"]) | st.binary(
    max_size=8
)
_change = st.tuples(
    st.sampled_from(["replace", "flip", "flip", "flip", "cut", "delete", "double", "insert"]),
    st.integers(0, 2**16 - 1) | st.integers(0, 1600),
    st.integers(1, 64),
    _bytes,
)
TARGETS = (
    Target(
        "journal",
        st.tuples(
            st.sampled_from(["killed", "closed"]), st.sampled_from(["file", "wal"]), st.lists(_change, max_size=3)
        ),
        check,
    ),
)
