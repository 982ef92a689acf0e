"""The file of a journal: SQLite in WAL mode with ``synchronous=FULL``, locked for as long as it is open.

The lock is the operating system's, so a kill releases it. The file holds keys, hashes, ids and times, and never a
payload or a secret. Everything here blocks.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import orjson

from clarus_async.errors import JournalError
from clarus_async.forking import watch
from clarus_async.provisioning.journal import rows as sql
from clarus_async.provisioning.journal.file_lock import FileLock, wal_problem
from clarus_async.provisioning.journal.rows import VERSION, Known, Row, are_texts
from clarus_async.provisioning.journal.timeline import (
    MOST_STRETCHES,
    Doubts,
    JournaledRun,
    Settled,
    Stretch,
    is_time,
    merged,
)

_RESOURCE_OF_VERSION_1: Final = "integrations"  # every journal of version 1 is of these


class JournalFile:
    """One job's journal on disk; with ``None`` for what tells it from others, any job's."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        tenant: str | None = None,
        base_url: str | None = None,
        resource: str | None = None,
        operation: str | None = "provision",
    ) -> None:
        self.path: Path = Path(path)
        self._job = {"tenant": tenant, "base_url": base_url, "resource": resource, "operation": operation}
        self._run: int | None = None  # the number of the run that goes on
        self._database: sqlite3.Connection | None = None
        self._lock: FileLock | None = None
        self.salt: bytes = b""
        """Goes into every hash, so that journals can't be compared."""
        self.resource: str = resource or _RESOURCE_OF_VERSION_1
        """What its records are, once it is open."""
        self.job: Mapping[str, str] = {}
        """What tells its job from others (``tenant``, ``base_url``, ``resource``, ``operation``), once it is open."""
        watch(self)

    def forked(self) -> Iterable[object]:
        """Close it in a child, but for the database: with that, SQLite would remove the parent's WAL."""
        database, self._database = self._database, None
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.leave()
        return [database]

    def _connected(self) -> sqlite3.Connection:
        if self._database is None:
            raise sqlite3.ProgrammingError("the journal is closed")
        return self._database

    def open(self, *, make: bool = True, known: bool = True) -> list[Known]:
        """Open it, or make it; return what a run is to know of what it holds. For errors of SQLite see ``explained``.

        Args:
            make: make it where there is none.
            known: return that; nothing else needs it, and of a million records it is large.

        Raises:
            JournalError: it is another job's, in use, damaged, not there, or can't be made.
        """
        try:
            # Where a link leads: SQLite keeps its WAL beside the file itself.
            self.path = self.path.resolve()
            if not self.path.exists():
                if not make:
                    raise JournalError(f"journal {self.path}: there is no such file")
                self._make()
            elif self.path.stat().st_size == 0:
                raise JournalError(f"journal {self.path}: is empty, and a journal never is: {_WHAT_TO_DO}")
            self._lock = FileLock(self._beside("-lock"))
        except BlockingIOError:
            raise JournalError(f"journal {self.path}: {_IN_USE}") from None
        except (OSError, ValueError) as error:
            raise _can_not("be opened", self.path, error) from None
        try:
            self._peek()
            self._database = sqlite3.connect(self._uri("mode=rw"), uri=True, isolation_level=None, timeout=0)
            return self._load(self._database, known=known)
        except (KeyError, ValueError, TypeError) as error:
            raise JournalError(f"journal {self.path}: is damaged ({error}): {_WHAT_TO_DO}") from None
        finally:
            if not self.salt:
                self._let_go()

    def _beside(self, suffix: str) -> Path:
        return self.path.with_name(self.path.name + suffix)

    def _uri(self, mode: str) -> str:
        return f"{self.path.as_uri()}?{mode}"

    def _make(self) -> None:
        """Make a whole journal under another name first, so that there never is half of one."""
        unfinished = self.path.with_name(f".{secrets.token_hex(8)}.journal")
        try:
            os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            with contextlib.closing(sqlite3.connect(unfinished, isolation_level=None)) as database:
                database.executescript(f"BEGIN;{sql.SCHEMA}")
                job = {**self._job, "version": VERSION, "salt": secrets.token_hex(8), "open": "0"}
                database.executemany("INSERT INTO job VALUES (?, ?)", job.items())
                database.execute("COMMIT")
            try:
                # Unlike a rename, this fails where somebody else made one meanwhile.
                os.link(unfinished, self.path)
            except FileExistsError:
                pass
            except OSError as error:
                if error.errno not in {errno.EPERM, errno.ENOTSUP, errno.ENOSYS}:
                    raise
                # Not every file system has hard links.
                unfinished.rename(self.path)
            _flush_folder(self.path.parent)
        except OSError as error:
            raise _can_not("be made", self.path, error) from None
        finally:
            with contextlib.suppress(OSError):
                unfinished.unlink()

    def _peek(self) -> None:
        """Refuse what is not ours without touching it; its job was written into the file itself when it was made."""
        try:
            with contextlib.closing(sqlite3.connect(self._uri("mode=ro&immutable=1"), uri=True)) as database:
                if not database.execute("SELECT 1 FROM sqlite_schema WHERE name = 'job'").fetchone():
                    raise JournalError(f"journal {self.path}: is a database, and no journal; take another file")
                job = dict(database.execute("SELECT name, value FROM job"))
        except sqlite3.OperationalError as error:
            raise _can_not("be opened", self.path, error) from None
        version = job.get("version")
        if version != VERSION and version not in sql.UPGRADES:
            raise JournalError(
                f"journal {self.path}: belongs to another release: its version is {version}, this one's {VERSION};"
                " go on with the release that wrote it, or take another file"
            )
        job = {"resource": _RESOURCE_OF_VERSION_1, "operation": "provision"} | job
        for name, ours in self._job.items():
            theirs = job.get(name)
            if ours is not None and theirs != ours:
                raise JournalError(
                    f"journal {self.path}: belongs to another job: its {name} is {theirs}, this one's {ours};"
                    " take another file, or none"
                )
        if job.get("open") == "1":
            self._check_wal()

    def _check_wal(self) -> None:
        """Refuse a WAL that is not as it was left: what it lost was sent, and nobody would know."""
        wal = self._beside("-wal")
        problem = wal_problem(wal) if wal.exists() else "is missing"
        if problem is not None:
            raise JournalError(
                f"journal {self.path}: its {wal.name}, which holds what was written last, {problem}; put it back as it"
                f" was, or {_WHAT_TO_DO}"
            )

    def _load(self, database: sqlite3.Connection, *, known: bool) -> list[Known]:
        # Taken with the first access, and kept.
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("BEGIN EXCLUSIVE")
        database.execute("COMMIT")
        check = database.execute("PRAGMA quick_check(1)").fetchone()[0]
        if check != "ok":
            raise JournalError(f"journal {self.path}: is damaged ({check}): {_WHAT_TO_DO}")
        job = dict(database.execute("SELECT name, value FROM job"))
        if (upgrade := sql.UPGRADES.get(job["version"])) is not None:
            # It commits, or rolls back.
            with database:
                database.executescript(f"BEGIN;{upgrade}")
            job = dict(database.execute("SELECT name, value FROM job"))
        salt = bytes.fromhex(job["salt"])
        self.job = {name: str(job[name]) for name in self._job}
        self.resource = self.job["resource"]
        held = [Known.of(values) for values in database.execute(sql.KNOWN)] if known else []
        database.execute("INSERT OR REPLACE INTO job VALUES ('open', '1')")
        # Not truncated: while it is open, its WAL is never without what was written last.
        database.execute("PRAGMA wal_checkpoint(PASSIVE)")
        self.salt = salt
        return held

    def begin_run(self, began: float, what: str, source: str | None) -> None:
        """Note that a run begins; see ``JournaledRun``."""
        values = began, what, source
        written = self._connected().execute("INSERT INTO runs (began, what, source) VALUES (?, ?, ?)", values)
        self._run = written.lastrowid

    def write(self, rows: Sequence[Row], stretch: Stretch | None = None) -> None:
        """Write intents and completions, all or none; return when they are on the disk.

        A row without a status is an intent, and replaces all that was there of the record but ``unknown``. Any other is
        the completion of a record that has its intent.

        Args:
            rows: which.
            stretch: the time that has passed since the last one was written.
        """
        # Of what is written together, a completion is the last word.
        intents = [row.intent for row in rows if row.status is None]
        completions = [row.completion for row in rows if row.status is not None]
        texts = _json(intents), _json(completions)
        whole = "\\u0000" not in texts[0] and "\\u0000" not in texts[1]
        database = self._connected()
        if whole and not completions and stretch is None:
            database.execute(sql.WRITE_INTENTS, texts[:1])
            return
        # It commits, or rolls back.
        with database:
            database.execute("BEGIN")
            if whole:
                database.execute(sql.WRITE_INTENTS, texts[:1])
                ended = database.execute(sql.WRITE_COMPLETIONS, texts[1:]).rowcount
            else:
                database.executemany(sql.WRITE_ONE_INTENT, [[_cell(value) for value in row] for row in intents])
                named = [dict(zip(sql.COMPLETION, map(_cell, row), strict=True)) for row in completions]
                ended = database.executemany(sql.WRITE_ONE_COMPLETION, named).rowcount
            if completions and ended < len(completions):
                raise sqlite3.IntegrityError("a completion has no intent")
            if stretch is not None:
                self._add(database, stretch)

    @staticmethod
    def _add(database: sqlite3.Connection, stretch: Stretch) -> None:
        added = database.execute(sql.ADD_STRETCH, stretch).lastrowid or 0
        if added > MOST_STRETCHES:
            stretches = map(Stretch.of, database.execute(sql.TIMELINE).fetchall())
            # Where they are many for the time that they are of, the oldest go.
            kept = merged(stretches, MOST_STRETCHES)[-MOST_STRETCHES // 2 :]
            database.execute("DELETE FROM timeline")
            database.executemany(sql.ADD_STRETCH, kept)

    def fetch(self, numbers: Sequence[int]) -> dict[int, Row]:
        """Read records by number."""
        return self._fetch("WHERE n IN (SELECT value FROM json_each(?))", _json(numbers))

    def doubtful(self, after: int, most: int) -> dict[int, Row]:
        """Read records that were ever in doubt, or are in flight, in order of their numbers."""
        where = "n > ? AND (unknown OR status IS NULL) AND coalesce(status, '') <> 'deleted'"
        return self._fetch(f"WHERE {where} ORDER BY n LIMIT ?", after, most)

    def outcomes(self, after: int, most: int, statuses: Collection[str | None] | None = None) -> dict[int, Row]:
        """Read records of some statuses, or of all, in order of their numbers; ``None`` is in flight."""
        if statuses is None:
            return self._fetch("WHERE n > ? ORDER BY n LIMIT ?", after, most)
        where = "n > ? AND coalesce(status, '') IN (SELECT value FROM json_each(?))"
        wanted = _json([status or "" for status in statuses])
        return self._fetch(f"WHERE {where} ORDER BY n LIMIT ?", after, wanted, most)

    def made(self, after: int, most: int) -> dict[int, Row]:
        """Read records that sends of this job made, and those that it may have made, in order of their numbers."""
        return self._fetch(f"WHERE n > ? AND ({sql.OURS} OR {sql.IN_DOUBT}) ORDER BY n LIMIT ?", after, most)

    def made_counts(self) -> dict[str, int]:
        """Count what ``made`` reads, and what it leaves out, by what the job did; see ``sql.MADE_COUNTS``."""
        return dict(zip(sql.MADE_COUNTS, self._connected().execute(sql.COUNT_MADE).fetchone(), strict=True))

    def counts(self) -> dict[str | None, tuple[int, int]]:
        """Count the records and their requests, by status; ``None`` is in flight."""
        rows = (
            self._connected().execute("SELECT status, count(*), sum(attempts) FROM records GROUP BY status").fetchall()
        )
        for status, _, attempts in rows:
            if not ((status is None or status in sql.STATUSES) and type(attempts) is int):
                raise ValueError("a record has no sensible status or attempts")
        return {status: (records, attempts) for status, records, attempts in rows}

    def course(self) -> tuple[list[JournaledRun], list[Stretch]]:
        """Return the runs of the job, and what was sent in them, each in its order."""
        database = self._connected()
        runs, stretches = (database.execute(query).fetchall() for query in (sql.RUNS, sql.TIMELINE))
        return [JournaledRun.of(values) for values in runs], [Stretch.of(values) for values in stretches]

    def doubts(self) -> dict[Settled, Doubts]:
        """Say how records that were in doubt were settled, and how long that took."""
        database, found = self._connected(), {}
        for how, records, timed in database.execute(sql.DOUBTS).fetchall():
            places = [(how, timed // 2), (how, timed - 1)] if timed else []
            times = [database.execute(sql.TIME_IN_DOUBT, place).fetchone()[0] for place in places]
            if not all(map(is_time, times)):
                raise ValueError("a record has no sensible took")
            found[Settled(how)] = Doubts(records, *times)
        return found

    def slowest(self, most: int) -> list[Row]:
        """Read the records that took longest from their first request to their end, the slowest first."""
        return list(self._fetch("WHERE took IS NOT NULL ORDER BY took DESC, n LIMIT ?", most).values())

    def differing(self) -> dict[tuple[str, ...], int]:
        """Count the records that are there with other attributes than were given, by those attributes."""
        found = "SELECT differs, count(*) FROM records WHERE differs <> '[]' GROUP BY differs"
        rows = [(orjson.loads(cell), count) for cell, count in self._connected().execute(found).fetchall()]
        if not all(are_texts(names) for names, _ in rows):
            raise ValueError("a record has no sensible differs")
        return {tuple(names): count for names, count in rows}

    def owners(self, ids: Sequence[int]) -> dict[int, str]:
        """Return the keys of the records that have these ids."""
        wanted = "SELECT id, key FROM records WHERE id IN (SELECT value FROM json_each(?))"
        return dict(self._connected().execute(wanted, (_json(ids),)))

    def forget_refused(self) -> None:
        """Forget what was wrong with the input: it is said again when it is met again."""
        self._connected().execute(f"DELETE FROM records WHERE {sql.REFUSED}")  # noqa: S608  a constant

    def forget(self, numbers: Sequence[int]) -> None:
        """Forget records of which nothing was sent."""
        statement = "DELETE FROM records WHERE n IN (SELECT value FROM json_each(?))"
        self._connected().execute(statement, (_json(numbers),))

    def change(self, rows: Iterable[Row]) -> None:
        """Note what is about to be changed, of records that have their intents; their ``given`` is what stays.

        Until it is known what became of that, it answers for no input.
        """
        database = self._connected()
        with database:
            database.execute("BEGIN")
            values = [(row.id, row.ours, _cell(row.given), _cell(row.names), row.n) for row in rows]
            database.executemany(sql.CHANGE, values)

    def _fetch(self, where: str, *arguments: object) -> dict[int, Row]:
        # All of them first: a statement that had not come to its end would keep the file from being closed.
        cells = self._connected().execute(f"{sql.READ} {where}", arguments).fetchall()
        return {row.n: row for row in map(Row.of, cells)}

    def close(self, ended: float | None = None, stretch: Stretch | None = None) -> None:
        """Close it, with what there is to note of the run that ends."""
        database, run = self._database, self._run
        try:
            if database is not None and run is not None:
                # Where the disk is full, that can't be noted, and nothing else depends on it.
                with contextlib.suppress(sqlite3.Error), database:
                    database.execute("BEGIN")
                    database.execute("UPDATE runs SET ended = ? WHERE n = ?", (ended, run))
                    if stretch is not None:
                        self._add(database, stretch)
            # Not truncated before: where the disk is full, the WAL's own room is all there is.
            if database is not None:
                database.execute("PRAGMA wal_checkpoint(RESTART)")
                database.execute("UPDATE job SET value = '0' WHERE name = 'open'")
        finally:
            self._let_go()

    def _let_go(self) -> None:
        self.salt, self._run = b"", None
        database, self._database = self._database, None
        if database is not None:
            database.close()
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()

    def explained(self, error: Exception) -> str:
        """Say in words what went wrong, and what to do."""
        where = f"journal {self.path}: "
        if not isinstance(error, sqlite3.Error):
            return f"{where}is damaged ({error}): {_WHAT_TO_DO}"
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            return f"{where}{_IN_USE}"
        if code == sqlite3.SQLITE_NOTADB:
            return f"{where}is damaged ({error}), or was never a journal: {_WHAT_TO_DO}"
        if code == sqlite3.SQLITE_CORRUPT:
            return f"{where}is damaged ({error}): {_WHAT_TO_DO}"
        if code == sqlite3.SQLITE_FULL:
            return f"{where}the disk is full; make room, and run again with the same journal"
        return f"{where}{error}"


_WHAT_TO_DO: Final = (
    'move it away and run again without it; with existing="adopt", what is there already is found by its key'
)


_IN_USE: Final = "is in use by another run; wait for its end, or take another file"


def _can_not(what: str, path: Path, error: Exception) -> JournalError:
    why = error.strerror if isinstance(error, OSError) and error.strerror else error
    return JournalError(f"journal {path}: can't {what}: {why}")


def _cell(value: object) -> object:
    return _json(value) if isinstance(value, list | tuple | dict) else value


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
