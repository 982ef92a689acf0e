"""The journal's file: whole or refused, private, one run's at a time, and never ahead of the disk."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from clarus_async import ClarusClient, NewIntegration, Timeouts
from clarus_async.errors import JournalError
from clarus_async.provisioning.journal.file import JournalFile
from clarus_async.provisioning.journal.journal import Journal
from clarus_async.provisioning.journal.rows import Row
from clarus_async.provisioning.review import history_of
from clarus_async.simulator import Endpoint, Simulator

URL = "https://clarus.test"
LINUX = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")


def entry(n, **more):
    fields = {"key": f"key-{n}", "hash": "0" * 24, "idempotency_key": f"idem-{n}", "seen": [], "sent": 1.5}
    return Row(n=n, **fields | more)


def wal_of(path):
    return path.with_name(f"{path.name}-wal")


def make(path, rows=0, tenant="acme"):
    """Make a journal, and close it."""
    file = JournalFile(path, tenant, URL, "integrations")
    file.open()
    if rows:
        file.write([entry(n) for n in range(1, rows + 1)])
    file.close()
    return path


def crash(path, rows=50, tenant="acme"):
    """Make what a kill leaves: the file and its WAL as they are while a run goes on, a group of rows at a time."""
    running = path.with_name("running.db")
    file = JournalFile(running, tenant, URL, "integrations")
    file.open()
    for n in range(1, rows + 1):
        file.write([entry(n)])
    shutil.copy(running, path)
    shutil.copy(wal_of(running), wal_of(path))
    file.close()
    running.unlink()
    return path


async def opened(path, tenant="acme", url=URL):
    """Open a journal, and close it; return what it held."""
    journal = Journal(JournalFile(path, tenant, url, "integrations"))
    try:
        return await journal.open()
    finally:
        await journal.close()


async def refusal(path, tenant="acme", url=URL):
    with pytest.raises(JournalError) as raised:
        await opened(path, tenant, url)
    return raised.value.message


async def read_all(path):
    """Everything that a run would be told."""
    journal = Journal(JournalFile(path, "acme", URL, "integrations"))
    try:
        known = await journal.open()
        return journal.file.salt, known, await journal.run(lambda: journal.file.fetch([one.n for one in known]))
    finally:
        await journal.close()


def bytes_of(path):
    return {file.name: file.read_bytes() for file in path.parent.iterdir() if file.is_file()}


def flip(path, place, mask=0xFF):
    content = bytearray(path.read_bytes())
    content[place] ^= mask
    path.write_bytes(content)


def threads():
    """Journals' threads; those that were told to end are waited for."""
    found = [thread for thread in threading.enumerate() if thread.name.startswith("clarus_async journal")]
    for thread in found:
        thread.join(5.0)
    return [thread for thread in found if thread.is_alive()]


def handles(path):
    gc.collect()
    links = []
    for handle in Path("/proc/self/fd").iterdir():
        # The handle of the listing itself is gone by now.
        with contextlib.suppress(OSError):
            links.append(str(handle.readlink()))
    return [link for link in links if link.startswith(str(path))]


def python(code, **options):
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, **options)


class TestMade:
    @pytest.mark.parametrize("suffix", ["", "-wal"])
    async def test_nobody_else_may_read_it(self, tmp_path, suffix):
        journal = Journal(JournalFile(tmp_path / "run.db", "acme", URL, "integrations"))
        await journal.open()
        await journal.write([entry(1)])
        assert stat.S_IMODE((tmp_path / f"run.db{suffix}").stat().st_mode) == 0o600
        await journal.close()

    @pytest.mark.parametrize("fails", ["execute", "link", "fsync"])
    async def test_there_never_is_half_of_one(self, tmp_path, monkeypatch, fails):
        def broken(*args, **kwargs):
            raise OSError(5, "Input/output error")

        if fails == "execute":
            monkeypatch.setattr(sqlite3, "connect", broken)
        else:
            monkeypatch.setattr(os, fails, broken)
        with pytest.raises(JournalError, match="can't be made: Input/output error"):
            await opened(tmp_path / "run.db")
        monkeypatch.undo()
        # Whole, or not there at all.
        assert await opened(tmp_path / "run.db") == []

    async def test_one_that_somebody_else_made_meanwhile_is_not_replaced(self, tmp_path, monkeypatch):
        link = os.link

        def late(source, target):
            monkeypatch.undo()
            make(tmp_path / "run.db", rows=3)
            link(source, target)

        monkeypatch.setattr(os, "link", late)
        assert len(await opened(tmp_path / "run.db")) == 3

    @pytest.mark.parametrize("name", ["a b?mode=ro#x%20.db", "ünï.db", "-wal"])
    async def test_a_file_may_be_called_anything(self, tmp_path, name):
        await opened(tmp_path / name)
        assert list(bytes_of(tmp_path / name)) == [name]

    async def test_a_folder_that_is_not_there(self, tmp_path):
        assert "can't be made: No such file or directory" in await refusal(tmp_path / "no" / "run.db")

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
    async def test_a_folder_that_may_not_be_written_to(self, tmp_path):
        tmp_path.chmod(0o500)
        assert "Permission denied" in await refusal(tmp_path / "run.db")

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may look anywhere")
    async def test_a_folder_that_may_not_be_looked_into(self, tmp_path):
        tmp_path.chmod(0o000)
        assert "Permission denied" in await refusal(tmp_path / "run.db")
        tmp_path.chmod(0o700)

    async def test_a_folder_is_no_file(self, tmp_path):
        assert "can't be opened" in await refusal(tmp_path)

    @pytest.mark.parametrize("name", ["n" * 300, "nul\0.db"])
    async def test_a_name_that_no_file_can_have(self, tmp_path, name):
        try:
            await opened(tmp_path / name)
        except JournalError:
            return


class TestRefused:
    @pytest.mark.parametrize(
        ("job", "said"),
        [
            ({"tenant": "globex"}, "belongs to another job: its tenant is acme, this one's globex"),
            ({"url": "https://staging.test"}, f"its base_url is {URL}, this one's https://staging.test"),
        ],
    )
    async def test_another_tenant_s_or_server_s_and_it_is_left_as_it_is(self, tmp_path, job, said):
        path = make(tmp_path / "run.db", rows=10)
        before = bytes_of(path)
        assert said in await refusal(path, **job)
        assert bytes_of(path) == before

    async def test_a_later_version_s(self, tmp_path):
        path = make(tmp_path / "run.db")
        with sqlite3.connect(path) as database:
            database.execute("UPDATE job SET value = '4' WHERE name = 'version'")
        database.close()
        assert "its version is 4, this one's 3" in await refusal(path)

    async def test_another_resource_s(self, tmp_path):
        path = tmp_path / "run.db"
        file = JournalFile(path, "acme", URL, "external_entities")
        file.open()
        file.close()
        before = bytes_of(path)
        assert "its resource is external_entities, this one's integrations" in await refusal(path)
        assert bytes_of(path) == before

    async def test_what_a_crash_left_is_still_there_after_another_tenant_was_refused(self, tmp_path):
        path = crash(tmp_path / "run.db")
        before = bytes_of(path)
        await refusal(path, tenant="globex")
        assert bytes_of(path) == before


async def left_alone(path, said):
    """A damaged journal is left as it is, and what is to be done is said."""
    before = bytes_of(path)
    message = await refusal(path)
    assert said in message
    assert "move it away and run again without it" in message
    assert bytes_of(path) == before


class TestDamaged:
    async def test_an_empty_file(self, tmp_path):
        (tmp_path / "run.db").touch()
        await left_alone(tmp_path / "run.db", "is empty")

    @pytest.mark.parametrize("left", [0.1, 0.5, 0.9])
    async def test_one_that_is_cut_off(self, tmp_path, left):
        path = make(tmp_path / "run.db", rows=500)
        os.truncate(path, int(path.stat().st_size * left))
        await left_alone(path, "is damaged")

    @pytest.mark.parametrize("place", [0, 100, 4096, 8192, 12288])
    async def test_one_whose_structure_is_broken(self, tmp_path, place):
        path = make(tmp_path / "run.db", rows=500)
        flip(path, place)
        await left_alone(path, "is damaged")

    async def test_what_is_no_database(self, tmp_path):
        path = tmp_path / "run.db"
        path.write_text("name,integration_type\n" * 1000)
        await left_alone(path, "is damaged (file is not a database)")

    @pytest.fixture
    def foreign(self, tmp_path):
        path = tmp_path / "accounts.db"
        database = sqlite3.connect(path)
        database.execute("CREATE TABLE accounts (name)")
        database.commit()
        database.close()
        return path

    async def test_another_program_s_database_is_named_and_left_alone(self, foreign):
        before = bytes_of(foreign)
        assert "take another file" in await refusal(foreign)
        assert bytes_of(foreign) == before

    async def test_a_missing_wal(self, tmp_path):
        path = crash(tmp_path / "run.db")
        wal_of(path).unlink()
        for _ in range(2):
            await left_alone(path, "written last, is missing")

    async def test_a_wal_that_was_put_back(self, tmp_path):
        path = crash(tmp_path / "run.db", rows=50)
        wal = wal_of(path).rename(tmp_path / "elsewhere")
        await refusal(path)
        wal.rename(wal_of(path))
        assert len(await opened(path)) == 50

    async def test_a_wal_whose_last_write_was_torn(self, tmp_path):
        """A kill may cut off the last group; those before it are whole, and nobody was told of it."""
        path = crash(tmp_path / "run.db", rows=50)
        os.truncate(wal_of(path), wal_of(path).stat().st_size - 1000)
        assert len(await opened(path)) == 49

    async def test_a_wal_of_which_nothing_but_its_header_is_left(self, tmp_path):
        path = crash(tmp_path / "run.db", rows=50)
        os.truncate(wal_of(path), 53)
        assert "is cut off" in await refusal(path)

    @pytest.mark.parametrize("place", [None, 9, 32 + 5 * (24 + 4096) + 9, 0.5])
    async def test_a_wal_that_lost_more_than_its_last_write(self, tmp_path, place):
        """All of it, its header, the header of a frame in its middle, or the content of one."""
        path = crash(tmp_path / "run.db", rows=50)
        wal = wal_of(path)
        if place is None:
            os.truncate(wal, 0)
        else:
            flip(wal, wal.stat().st_size // 2 if place == 0.5 else place)
        with pytest.raises(JournalError):
            await opened(path)

    @pytest.mark.parametrize(
        "harm",
        [
            "UPDATE job SET value = 'zz' WHERE name = 'salt'",
            *(
                f"UPDATE records SET {cell} WHERE n = 3"
                for cell in (
                    "key = x'00'", "name = x'00'", "hash = x'00'", "seen = '['", "seen = '{}'", "seen = '[\"1\"]'",
                    "sent = 'x'",
                    "sends = 'x'", "status = 'craeted'", "id = 'x'", "matched_by = x'00'", "attempts = 1.5",
                    "others = '7'", "error = '{}'", "error = '[]'",
                    """error = '{"type": "X", "message": "", "applied": "perhaps", "retryable": true}'""",
                )
            ),
        ],
    )  # fmt: skip
    async def test_content_that_makes_no_sense_is_damage(self, tmp_path, harm):
        path = make(tmp_path / "run.db", rows=5)
        with sqlite3.connect(path) as database:
            database.execute(harm)
        database.close()
        with pytest.raises(JournalError, match="is damaged"):
            await read_all(path)

    @pytest.mark.parametrize("cell", ["status = 'craeted'", "attempts = 'x'"])
    async def test_a_report_of_content_that_makes_no_sense(self, tmp_path, cell):
        path = make(tmp_path / "run.db", rows=5)
        with sqlite3.connect(path) as database:
            database.execute(f"UPDATE records SET {cell} WHERE n = 3")
        database.close()
        journal = Journal(JournalFile(path))
        await journal.open()
        try:
            with pytest.raises(JournalError, match="is damaged"):
                await history_of(journal, 5)
        finally:
            await journal.close()


class TestOneAtATime:
    async def test_the_first_goes_on_after_a_second_was_refused(self, tmp_path):
        first = Journal(JournalFile(tmp_path / "run.db", "acme", URL, "integrations"))
        await first.open()
        assert "is in use by another run" in await refusal(tmp_path / "run.db")
        await first.write([entry(1)])
        await first.close()
        assert len(await opened(tmp_path / "run.db")) == 1

    @pytest.fixture
    def running(self, tmp_path):
        """A process that has opened the journal, looked at it as a backup would, and written two rows.

        A POSIX lock is gone as soon as its process closes any handle of the file.
        """
        code = f"""
import sys
from clarus_async.provisioning.journal.file import JournalFile
from clarus_async.provisioning.journal.rows import Row
file = JournalFile({str(tmp_path / "run.db")!r}, "acme", {URL!r}, "integrations")
file.open()
open({str(tmp_path / "run.db")!r}, "rb").close()
file.write([Row(n=n, key=f"key-{{n}}") for n in (1, 2)])
print("open", flush=True)
sys.stdin.read()
"""
        with python(code, stdin=subprocess.PIPE) as process:
            assert process.stdout.readline() == "open\n"
            yield process
            process.kill()

    async def test_a_second_process_is_refused(self, tmp_path, running):
        assert "is in use by another run" in await refusal(tmp_path / "run.db")

    async def test_a_kill_frees_it_with_all_that_was_written(self, tmp_path, running):
        running.send_signal(signal.SIGKILL)
        running.wait()
        assert [known.key for known in await opened(tmp_path / "run.db")] == ["key-1", "key-2"]

    async def test_a_link_to_it_resumes_after_a_crash(self, tmp_path):
        (tmp_path / "data").mkdir()
        crash(tmp_path / "data" / "run.db", rows=5)
        (tmp_path / "run.db").symlink_to(tmp_path / "data" / "run.db")
        assert len(await opened(tmp_path / "run.db")) == 5


class TestForks:
    """A child has its parent's descriptors, and is neither its parent nor another run."""

    @staticmethod
    @contextlib.contextmanager
    def parent(path, child):
        """A process that has opened the journal, forks, and writes a row when its child has done something."""
        code = f"""
import os, sys
from clarus_async.provisioning.journal.file import JournalFile
from clarus_async.provisioning.journal.rows import Row
file = JournalFile({str(path)!r}, "acme", {URL!r}, "integrations")
file.open()
file.write([Row(n=1, key="key-1")])
reading, writing = os.pipe()
if os.fork() == 0:
    {child}
os.close(writing)
os.read(reading, 1)
file.write([Row(n=2, key="key-2")])
print("written", flush=True)
sys.stdin.read()
"""
        with python(code, stdin=subprocess.PIPE) as process:
            assert process.stdout.readline() == "written\n"
            yield process
            process.stdin.close()

    @pytest.mark.parametrize(
        "child",
        [
            pytest.param("sys.exit()", id="exits"),
            pytest.param("file.close(); os._exit(0)", id="closes it"),
            pytest.param("del file; os._exit(0)", id="drops it"),
            pytest.param("os.close(writing); sys.stdin.read(); os._exit(0)", id="lives on"),
        ],
    )
    async def test_what_the_parent_writes_after_it_is_not_lost(self, tmp_path, child):
        path = tmp_path / "run.db"
        with self.parent(path, child) as process:
            assert "is in use by another run" in await refusal(path)
            process.kill()
            process.wait()
            assert [known.key for known in await opened(path)] == ["key-1", "key-2"]

    async def test_a_child_can_not_use_it(self, tmp_path):
        path = tmp_path / "run.db"
        child = (
            "import pathlib\n    try: file.counts()\n"
            "    except Exception as error: pathlib.Path(f'{file.path}-said').write_text(file.explained(error))\n"
            "    os._exit(0)"
        )
        with self.parent(path, child):
            said = path.with_name("run.db-said").read_text()
        assert said == f"journal {path}: the journal is closed"


class TestRows:
    @pytest.fixture
    def file(self, tmp_path):
        file = JournalFile(tmp_path / "run.db", "acme", URL, "integrations")
        file.open()
        yield file
        file.close()

    @pytest.mark.parametrize("key", ["k", "k\0k"])
    def test_a_row_comes_back_as_it_was_written(self, file, key):
        entered = {
            "n": 7, "key": key, "name": "N", "hash": "h", "idempotency_key": "i", "seen": [3, 1], "sent": 12.25,
            "given": {"name": "0a"}, "names": ("M",),
        }  # fmt: skip
        became = {
            "sends": 2, "status": "duplicated", "id": 5, "matched_by": "name", "attempts": 4, "others": [6],
            "error": {"type": "X", "message": "é\n", "applied": "no", "retryable": False, "status": 422},
            "unknown": True, "existing": "adopt", "ours": True, "differs": ("name",),
        }  # fmt: skip
        file.write([Row(**entered, sends=3), Row(**entered, **became)])
        assert file.fetch([7]) == {7: Row(**entered, **became)}

    @pytest.mark.parametrize("together", [True, False])
    @pytest.mark.parametrize("key", ["k", "k\0k"])
    def test_a_result_leaves_its_entry_as_it_is(self, file, together, key):
        entered, result = Row(1, key, "N", "h", "i", [3], 1.5), Row(1, "", status="created", id=9)
        for group in [[entered, result]] if together else [[entered], [result]]:
            file.write(group)
        row = file.fetch([1])[1]
        assert row[:8] == entered[:8]
        assert (row.status, row.id) == ("created", 9)

    def test_what_is_about_to_be_changed_answers_for_nothing(self, file):
        file.write(
            [Row(1, "k", hash="h", given={"name": "0a"}), Row(1, "", status="updated", sends=1, existing="update")]
        )
        file.write([Row(2, "l", hash="h", sends=1)])
        file.change([Row(n, "", id=n + 5, ours=n == 2, given={}, names=["M"]) for n in (1, 2, 3)])
        first, second = file.fetch([1, 2, 3]).values()
        assert (first.hash, first.given, first.status, first.ours, first.names) == ("", {}, "updated", False, ("M",))
        assert (second.status, second.id, second.ours, second.in_doubt) == ("unresolved", 7, True, False)

    def test_what_differs_is_counted(self, file):
        for n, differs in enumerate([(), ("name",), ("name", "string1"), ("name",)]):
            file.write([Row(n, f"k{n}"), Row(n, "", status="adopted", differs=differs)])
        assert file.differing() == {("name",): 2, ("name", "string1"): 1}

    @pytest.mark.parametrize(
        ("field", "left_out"), [("id", None), ("matched_by", None), ("error", None), ("attempts", 0)]
    )
    def test_a_result_is_replaced_as_a_whole(self, file, field, left_out):
        told = {"id": 9, "matched_by": "name", "error": {"type": "X"}, "attempts": 3}
        file.write([entry(1), Row(1, "", status="unresolved", **told)])
        file.write([Row(1, "", status="failed")])
        assert getattr(file.fetch([1])[1], field) == left_out

    @pytest.mark.parametrize("key", ["k", "k\0k"])
    def test_a_new_entry_ends_the_result_before_it(self, file, key):
        told = {"id": 9, "matched_by": "name", "others": [1], "error": {"type": "X"}, "attempts": 3}
        file.write([entry(1), Row(1, "", status="failed", **told)])
        file.write([entry(1, key=key, name="M")])
        assert file.fetch([1]) == {1: Row(*entry(1, key=key, name="M"))}

    @pytest.mark.parametrize("key", ["k", "k\0k"])
    def test_what_was_ever_in_doubt_stays_so(self, file, key):
        file.write([entry(1, key=key), Row(1, "", status="unresolved", unknown=True)])
        file.write([Row(1, "", status="created")])
        assert file.fetch([1])[1].unknown is True
        file.write([entry(1, key=key)])
        assert file.fetch([1])[1].unknown is True

    @pytest.mark.parametrize("key", ["k", "k\0k"])
    def test_a_result_without_its_entry_is_refused(self, file, key):
        with pytest.raises(sqlite3.IntegrityError, match="no intent"):
            file.write([entry(1, key=key), Row(2, "", status="created")])
        assert file.fetch([1, 2]) == {}

    def test_a_group_is_written_whole_or_not_at_all(self, file):
        with pytest.raises(sqlite3.IntegrityError):
            file.write([entry(1), Row(n=2, key=None)])
        assert file.fetch([1, 2]) == {}

    @pytest.mark.parametrize("key", ["ключ", "🛍" * 50, "'; DROP TABLE records; --", '"\\', "a\nb", "x" * 100_000])
    def test_a_key_may_be_any_text(self, file, key):
        file.write([entry(1, key=key)])
        assert file.fetch([1])[1].key == key

    def test_forgotten_is_what_was_asked_for_alone(self, file):
        file.write([entry(n) for n in (1, 2, 3)])
        file.forget([2])
        assert sorted(file.fetch([1, 2, 3])) == [1, 3]


class TestGroups:
    @pytest.fixture
    async def journal(self, tmp_path):
        journal = Journal(JournalFile(tmp_path / "run.db", "acme", URL, "integrations"))
        await journal.open()
        yield journal
        await journal.close()

    async def test_many_writes_at_once_are_a_few_statements(self, journal):
        groups = []
        write = journal.file.write
        journal.file.write = lambda rows, _: (groups.append(len(rows)), write(rows))
        await asyncio.gather(*(journal.write([entry(n)]) for n in range(1, 501)))
        assert sum(groups) == 500
        assert len(groups) <= 3

    async def test_a_write_returns_when_its_rows_can_be_read(self, journal):
        async def write(n):
            await journal.write([entry(n)])
            return await journal.run(lambda: journal.file.fetch([n]))

        found = await asyncio.gather(*(write(n) for n in range(1, 50)))
        assert all(list(one) == [n] for n, one in enumerate(found, 1))

    async def test_writing_leaves_the_loop_free(self, journal):
        go = threading.Event()
        write = journal.file.write
        journal.file.write = lambda rows, _: (go.wait(10.0), write(rows))
        writing = asyncio.ensure_future(journal.write([entry(1)]))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not writing.done()
        go.set()
        await writing

    async def test_writing_nothing_returns(self, journal):
        async with asyncio.timeout(10.0):
            await journal.write([])

    async def test_closing_writes_what_is_pending(self, tmp_path):
        journal = Journal(JournalFile(tmp_path / "run.db", "acme", URL, "integrations"))
        await journal.open()
        writes = [asyncio.ensure_future(journal.write([entry(n)])) for n in range(1, 100)]
        await asyncio.sleep(0)
        await journal.close()
        await asyncio.gather(*writes)
        assert len(await opened(tmp_path / "run.db")) == 99

    async def test_a_write_that_nobody_waits_for_any_more_is_written(self, tmp_path):
        journal = Journal(JournalFile(tmp_path / "run.db", "acme", URL, "integrations"))
        await journal.open()
        writing = asyncio.ensure_future(journal.write([entry(1)]))
        await asyncio.sleep(0)
        writing.cancel()
        await asyncio.wait([writing])
        await journal.close()
        assert len(await opened(tmp_path / "run.db")) == 1

    async def test_a_failed_write_is_told_to_all_who_wait(self, journal):
        writes = [journal.write([Row(n=n, key=None)]) for n in range(1, 10)]
        told = await asyncio.gather(*writes, return_exceptions=True)
        assert {type(error) for error in told} == {JournalError}

    async def test_after_a_failed_write_nothing_more_is_written(self, journal):
        with pytest.raises(JournalError):
            await journal.write([Row(n=1, key=None)])
        with pytest.raises(JournalError):
            await journal.write([entry(2)])


class TestLeftBehind:
    """Whenever a journal is let go, no thread and no handle of its file stays."""

    @LINUX
    async def test_by_an_open_that_was_refused(self, tmp_path):
        await refusal(make(tmp_path / "run.db"), tenant="globex")
        assert (threads(), handles(tmp_path)) == ([], [])

    @LINUX
    @pytest.mark.parametrize("turns", range(5))
    @pytest.mark.parametrize("what", ["open", "write"])
    async def test_by_what_was_cancelled(self, tmp_path, turns, what):
        journal = Journal(JournalFile(tmp_path / "run.db", "acme", URL, "integrations"))
        if what == "open":
            await cancelled(journal.open(), turns)
        else:
            await journal.open()
            await cancelled(journal.write([entry(1)]), turns)
        await journal.close()
        assert (threads(), handles(tmp_path)) == ([], [])

    @LINUX
    async def test_by_a_close_that_was_cancelled(self, tmp_path):
        journal = Journal(JournalFile(tmp_path / "run.db", "acme", URL, "integrations"))
        await journal.open()
        go = threading.Event()
        reading = asyncio.ensure_future(journal.run(lambda: go.wait(10.0)))
        await asyncio.sleep(0)
        await cancelled(journal.close(), 1)
        go.set()
        await reading
        assert (threads(), handles(tmp_path)) == ([], [])

    @LINUX
    async def test_by_one_that_was_never_opened(self, tmp_path):
        await Journal(JournalFile(tmp_path / "run.db", "acme", URL, "integrations")).close()
        assert (threads(), handles(tmp_path)) == ([], [])

    async def test_closing_twice_is_no_trouble(self, tmp_path):
        file = JournalFile(tmp_path / "run.db", "acme", URL, "integrations")
        file.open()
        file.close()
        file.close()
        assert await opened(tmp_path / "run.db") == []


async def cancelled(call, turns):
    task = asyncio.ensure_future(call)
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])


def shops(count):
    return [
        NewIntegration(
            name=f"Shop {n}",
            integration_type="shopify",
            configuration={"api_key": f"hush-{n}", "deep": {"list": ["hush-too"]}},
            external_system_reference1=f"ref-{n}",
            string1="payload-text",
        )
        for n in range(count)
    ]


QUICK = Timeouts(attempt=0.3, settle=0.3)


class TestWhatARunWrites:
    @pytest.fixture
    async def sim(self):
        async with Simulator() as sim:
            yield sim

    def client(self, sim):
        return ClarusClient("acme", sim.credentials, base_url=sim.url, timeouts=QUICK)

    async def test_no_payload_and_no_secret(self, sim, tmp_path):
        sim.script(Endpoint.CREATE, "reset_after", "json_api_error", "error_after")
        kept = b""
        async with self.client(sim) as clarus:
            async for _ in clarus.integrations.provision(shops(30), journal=tmp_path / "run.db", concurrency=2):
                kept += b"".join(bytes_of(tmp_path / "run.db").values())
        token = sim.requests[-1].headers["Authorization"].removeprefix("Bearer ")
        kept += b"".join(bytes_of(tmp_path / "run.db").values())
        assert b"ref-7" in kept
        secrets = ["hush", "payload-text", token, sim.client_secret, sim.client_id]
        assert [secret for secret in secrets if secret.encode() in kept] == []

    async def test_a_name_that_no_file_can_have_ends_the_run(self, sim, tmp_path):
        async with self.client(sim) as clarus, asyncio.timeout(30.0):
            with pytest.raises(OSError, match="File name too long"):
                async for _ in clarus.integrations.provision(shops(1), journal=tmp_path / ("n" * 300)):
                    pass


class TestFullDisk:
    """The pages that a journal may have are limited, as on a disk that is full."""

    @pytest.fixture
    def limit(self, monkeypatch):
        """Let journals have few pages, until the limit is lifted."""
        load = JournalFile._load

        def limited(file, database, **options):
            known = load(file, database, **options)
            database.execute("PRAGMA max_page_count = 10")
            return known

        monkeypatch.setattr(JournalFile, "_load", limited)
        return monkeypatch

    async def run(self, sim, path, count=250):
        """Run until the end; return the outcomes, and what was raised."""
        outcomes, error = [], None
        client = ClarusClient("acme", sim.credentials, base_url=sim.url, timeouts=QUICK)
        async with client as clarus, clarus.integrations.provision(shops(count), journal=path, concurrency=4) as run:
            try:
                async for outcome in run:
                    outcomes.append(outcome)
            except JournalError as raised:
                error = raised
        return outcomes, error

    async def test_the_run_ends_and_what_was_sent_is_written_and_has_its_outcome(self, tmp_path, limit):
        async with Simulator() as sim:
            outcomes, error = await self.run(sim, tmp_path / "run.db")
            assert "the disk is full; make room, and run again with the same journal" in error.message
            stored = {record.external_system_reference1: record.id for record in sim.created("acme")}
            assert stored
            assert {outcome.key: outcome.id for outcome in outcomes} == stored
            with contextlib.closing(sqlite3.connect(tmp_path / "run.db")) as database:
                assert stored.keys() <= {key for (key,) in database.execute("SELECT key FROM records")}

    async def test_it_goes_on_once_there_is_room(self, tmp_path, limit):
        async with Simulator() as sim:
            await self.run(sim, tmp_path / "run.db")
            limit.undo()
            outcomes, error = await self.run(sim, tmp_path / "run.db")
            assert error is None
            assert len(outcomes) == len(sim.created("acme")) == 250

    @LINUX
    async def test_nothing_stays_open(self, tmp_path, limit):
        async with Simulator() as sim:
            await self.run(sim, tmp_path / "run.db")
        assert (threads(), handles(tmp_path)) == ([], [])
