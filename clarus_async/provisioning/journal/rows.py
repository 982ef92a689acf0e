"""The rows of a journal, and the statements that write and read them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import NoneType
from typing import Any, Final, NamedTuple

import orjson

from clarus_async.errors import Applied
from clarus_async.provisioning.journal.timeline import JournaledRun, Settled, Stretch
from clarus_async.provisioning.options import EXISTING
from clarus_async.provisioning.report import PLANNED, OutcomeStatus


class Row(NamedTuple):
    """What the journal holds of one record: its intent and its completion, whose other fields are as in ``Outcome``."""

    # The intent: what the record is, and how it is about to be sent.
    n: int  # its number in the journal, from 1
    key: str  # the surest of its natural keys
    name: str | None = None  # the value of its last natural key, where that is not its key
    hash: str | None = None  # of all that was to be sent
    idempotency_key: str | None = None  # the same for every send
    seen: Sequence[int] | None = None  # ids that a lookup before the first send found; `None` where nobody looked
    # When it was first about to be sent, in seconds since 1970 on the server's clock, which no step of a local clock
    # moves; `None` where no answer had told of that.
    sent: float | None = None
    # Digests of what the server was given last of each attribute; `None` where nobody knows.
    given: Mapping[str, str] | None = None
    names: Sequence[str] = ()  # others that it may have
    scope: Sequence[object] | None = None  # of its last natural key, where that has one: the attributes' values
    # Both.
    sends: int | None = None  # how often it was, or is, to be sent as a new record
    unknown: bool = False  # whether it was ever in doubt; once said, it stays
    # The completion: what became of it.
    status: str | None = None  # `None` in flight
    id: int | None = None
    matched_by: str | None = None
    attempts: int = 0
    others: Sequence[int] = ()
    error: dict[str, Any] | None = None
    existing: str | None = None  # what was to be done with what is there
    ours: bool = False  # whether a send of this job made what is there
    differs: Sequence[str] = ()
    ended: float | None = None  # when it was written down, in seconds since 1970 on the local clock
    # Seconds from the first request of the run that ended it to its end; `None` where none was sent as a new record.
    took: float | None = None

    @property
    def intent(self) -> tuple[object, ...]:
        """The fields of ``INTENT``."""
        return self[:_COMPLETED]

    @property
    def completion(self) -> tuple[object, ...]:
        """The fields of ``COMPLETION``."""
        return self.n, *self[_SENT:]

    @property
    def in_doubt(self) -> bool:
        """Whether it may have been sent as a new record, and nobody knows what became of that."""
        return self.status is None or (self.status == "unresolved" and bool(self.sends))

    @classmethod
    def of(cls, values: Sequence[Any]) -> Row:
        """Build one of what SQLite gave; raise ``ValueError`` where a value makes no sense.

        SQLite keeps no checksums, and takes a value of any type in any column.
        """
        row = cls(*values)
        read: dict[str, Any] = {
            name: orjson.loads(cell) for name in _NESTED if (cell := getattr(row, name)) is not None
        }
        row = row._replace(
            **{"names": (), "others": (), "differs": ()} | read, unknown=bool(row.unknown), ours=bool(row.ours)
        )
        for name, value in row._asdict().items():
            if not _MAKES_SENSE.get(name, _is_whole)(value):
                raise ValueError(f"record {row.n!r} has no sensible {name}")
        return row._replace(names=tuple(row.names), differs=tuple(row.differs))


_SENT: Final = Row._fields.index("sends")
_COMPLETED: Final = Row._fields.index("status")
INTENT: Final = Row._fields[:_COMPLETED]
COMPLETION: Final = ("n", *Row._fields[_SENT:])


def _one_of(*kinds: type) -> Callable[[object], bool]:
    return lambda value: type(value) in kinds


def are_texts(value: object) -> bool:
    """Whether this is what names of attributes may be."""
    return isinstance(value, list | tuple) and all(type(item) is str for item in value)


def _are_ids(value: object) -> bool:
    return isinstance(value, list | tuple) and all(type(item) is int for item in value)


def _is_error(value: object) -> bool:
    if not isinstance(value, dict):
        return value is None
    return value.keys() <= _ERROR.keys() and all(makes_sense(value.get(name)) for name, makes_sense in _ERROR.items())


_is_whole: Final = _one_of(int, NoneType)
_is_text: Final = _one_of(str, NoneType)
_APPLIED: Final = frozenset(Applied)
STATUSES: Final = frozenset(OutcomeStatus) - {*PLANNED.values()}
_ERROR: Final[dict[str, Callable[[Any], bool]]] = {
    "type": _one_of(str),
    "message": _one_of(str),
    "applied": lambda value: isinstance(value, str) and value in _APPLIED,
    "retryable": _one_of(bool),
    "status": _is_whole,
}
_NESTED: Final = ("seen", "given", "names", "scope", "others", "error", "differs")
_MAKES_SENSE: Final[dict[str, Callable[[Any], bool]]] = {
    "n": _one_of(int),
    "key": _one_of(str),
    **dict.fromkeys(("name", "hash", "idempotency_key", "matched_by"), _is_text),
    "seen": lambda value: value is None or _are_ids(value),
    **dict.fromkeys(("sent", "ended", "took"), _one_of(float, NoneType)),
    **dict.fromkeys(("unknown", "ours"), _one_of(bool)),
    "given": lambda value: value is None or (isinstance(value, dict) and are_texts([*value.values()])),
    "scope": lambda value: value is None or isinstance(value, list),
    "existing": lambda value: value is None or value in EXISTING,
    **dict.fromkeys(("names", "differs"), are_texts),
    "status": lambda value: value is None or value in STATUSES,
    "attempts": _one_of(int),
    "others": _are_ids,
    "error": _is_error,
}


_HISTORY: Final = """
CREATE TABLE runs (n INTEGER PRIMARY KEY, began REAL NOT NULL, ended REAL, what TEXT NOT NULL, source TEXT);
CREATE TABLE timeline (
  n INTEGER PRIMARY KEY, at REAL NOT NULL, seconds REAL NOT NULL, records INTEGER NOT NULL, requests INTEGER NOT NULL,
  refused INTEGER NOT NULL, unclear INTEGER NOT NULL, paused REAL NOT NULL);
"""
SCHEMA: Final = f"""
CREATE TABLE job (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE records (
  n INTEGER PRIMARY KEY, key TEXT NOT NULL, name TEXT, hash TEXT, idempotency_key TEXT, seen TEXT, sent REAL,
  sends INTEGER, status TEXT, id INTEGER, matched_by TEXT, attempts INTEGER NOT NULL DEFAULT 0, others TEXT,
  error TEXT, unknown INTEGER NOT NULL, given TEXT, names TEXT, scope TEXT, existing TEXT,
  ours INTEGER NOT NULL DEFAULT 0, differs TEXT, ended REAL, took REAL);
{_HISTORY}"""
# Version 1 does not say under which `existing` a record was settled. What was updated was so under "update". What a
# send of the job made was sent with the attributes of its hash, whatever the option was. What was only found was never
# compared: it is decided anew, by a lookup, which sends nothing.
_FROM_1_TO_2: Final = """
ALTER TABLE records RENAME COLUMN integration_id TO id;
ALTER TABLE records ADD COLUMN scope TEXT;
ALTER TABLE records ADD COLUMN given TEXT;
ALTER TABLE records ADD COLUMN names TEXT;
ALTER TABLE records ADD COLUMN existing TEXT;
ALTER TABLE records ADD COLUMN ours INTEGER NOT NULL DEFAULT 0;
ALTER TABLE records ADD COLUMN differs TEXT;
UPDATE records SET existing = 'update' WHERE status = 'updated';
UPDATE records SET ours = 1 WHERE status IN ('created', 'duplicated') OR (status = 'adopted' AND sends > 0);
INSERT INTO job VALUES ('resource', 'integrations');
"""
_FROM_2_TO_3: Final = f"""
ALTER TABLE records ADD COLUMN ended REAL;
ALTER TABLE records ADD COLUMN took REAL;
{_HISTORY}
INSERT INTO job VALUES ('operation', 'provision');
UPDATE job SET value = '3' WHERE name = 'version';
"""  # noqa: S608  made of constants
VERSION: Final = "3"
UPGRADES: Final = {"1": _FROM_1_TO_2 + _FROM_2_TO_3, "2": _FROM_2_TO_3}
"""What makes a journal of an earlier version one of this."""


def _upsert_intent(source: str) -> str:
    names = ", ".join(INTENT)
    replaced = [f"{name} = excluded.{name}" for name in INTENT if name not in {"n", "unknown"}]
    left = Row._fields[_COMPLETED:]
    emptied = [f"{name} = {0 if name in {'attempts', 'ours'} else 'NULL'}" for name in left]
    return (
        f"INSERT INTO records ({names}) {source} ON CONFLICT (n) DO UPDATE SET {', '.join(replaced + emptied)},"
        " unknown = max(unknown, excluded.unknown)"
    )


def _update_completion(value: Callable[[int], str], source: str) -> str:
    values = {name: value(i) for i, name in enumerate(COMPLETION) if name != "n"}
    values["unknown"] = f"max(unknown, {values['unknown']})"
    assignments = ", ".join(f"{name} = {new}" for name, new in values.items())
    return f"UPDATE records SET {assignments} {source} WHERE n = {value(0)}"  # noqa: S608


def _extracted(i: int) -> str:
    return f"json_extract(value, '$[{i}]')"


# A whole group in one statement: each statement that a thread runs may have to wait for the interpreter's lock.
_ALL: Final = ", ".join(map(_extracted, range(len(INTENT))))
WRITE_INTENTS: Final = _upsert_intent(f"SELECT {_ALL} FROM json_each(?) WHERE true")  # noqa: S608  field names
WRITE_COMPLETIONS: Final = _update_completion(_extracted, "FROM json_each(?)")
# SQLite's JSON ends a text at a NUL.
WRITE_ONE_INTENT: Final = _upsert_intent(f"VALUES ({', '.join('?' for _ in INTENT)})")
WRITE_ONE_COMPLETION: Final = _update_completion(lambda i: f":{COMPLETION[i]}", "")
# Its hash becomes one that no record has. It is in doubt no more, for what is there is known.
CHANGE: Final = """UPDATE records SET hash = '', status = coalesce(status, 'unresolved'), sends = 0,
  id = ?, ours = ?, given = ?, names = ? WHERE n = ?"""
ADD_STRETCH: Final = f"INSERT INTO timeline ({', '.join(Stretch._fields)}) VALUES (?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
TIMELINE: Final = f"SELECT {', '.join(Stretch._fields)} FROM timeline ORDER BY n"  # noqa: S608  field names
RUNS: Final = f"SELECT {', '.join(JournaledRun._fields)} FROM runs ORDER BY n"  # noqa: S608  field names
# What a send of the job made and is still there, and what it may have made.
OURS: Final = "(ours AND id IS NOT NULL AND coalesce(status, '') <> 'deleted')"
IN_DOUBT: Final = "(status IS NULL OR (status = 'unresolved' AND coalesce(sends, 0)))"
MADE_COUNTS: Final = {
    "ours": OURS,
    "in_doubt": f"({IN_DOUBT} AND NOT {OURS})",
    "there_before": "(coalesce(status, '') = 'adopted' AND NOT ours)",
    "updated": "(coalesce(status, '') = 'updated' AND NOT ours)",
    "disabled": "(coalesce(status, '') = 'disabled')",
    "deleted": "(coalesce(status, '') = 'deleted')",
}
_COUNTED: Final = ", ".join(f"count(*) FILTER (WHERE {test})" for test in MADE_COUNTS.values())
COUNT_MADE: Final = f"SELECT {_COUNTED} FROM records"  # noqa: S608  made of constants
_SETTLED: Final = f"""CASE
  WHEN status IS NULL OR status = 'unresolved' THEN '{Settled.UNKNOWN}'
  WHEN status = 'duplicated' THEN '{Settled.SEVERAL}'
  WHEN status IN ('failed', 'conflict') THEN '{Settled.NOT_THERE}'
  WHEN coalesce(sends, 0) > 1 THEN '{Settled.SENT_AGAIN}'
  ELSE '{Settled.FOUND}' END"""
_DOUBTED: Final = "(unknown OR status IS NULL)"
DOUBTS: Final = f"SELECT {_SETTLED}, count(*), count(took) FROM records WHERE {_DOUBTED} GROUP BY 1"  # noqa: S608
TIME_IN_DOUBT: Final = (
    f"SELECT took FROM records WHERE {_DOUBTED} AND took IS NOT NULL AND {_SETTLED} = ? ORDER BY took LIMIT 1 OFFSET ?"  # noqa: S608
)
READ: Final = f"SELECT {', '.join(Row._fields)} FROM records"  # noqa: S608  field names
# What is wrong with the input itself, such as a key that is there twice.
REFUSED: Final = "(coalesce(status, '') = 'failed' AND hash IS NULL)"
KNOWN: Final = f"""SELECT n, key, coalesce(name, key), iif(coalesce(status, '') = 'deleted', NULL, id),
  coalesce(status, '') = 'adopted' AND NOT ours,
  {IN_DOUBT}, names, scope
FROM records WHERE NOT {REFUSED}"""  # noqa: S608  made of constants


class Known(NamedTuple):
    """What of each record is kept at hand while a run goes on; the fields without a comment are as in ``Row``."""

    n: int
    key: str
    name: str  # the value of its last natural key
    id: int | None
    by_key_alone: bool  # it was found as it is, and nothing was sent for it
    in_doubt: bool  # it may have been sent, and nobody knows what became of it
    names: Sequence[str] = ()
    scope: Sequence[object] | None = None

    @classmethod
    def of(cls, values: Sequence[Any]) -> Known:
        """Build one of what SQLite gave; raise ``ValueError`` where a value makes no sense."""
        n, key, name, found, by_key_alone, in_doubt, *cells = values
        names, scope = ((None if cell is None else orjson.loads(cell)) for cell in cells)
        names = () if names is None else names
        if not are_texts((key, name)) or not _is_whole(found) or not are_texts(names):
            raise ValueError(f"record {n!r} has no sensible key, name or id")
        if not _MAKES_SENSE["scope"](scope):
            raise ValueError(f"record {n!r} has no sensible scope")
        return cls(n, key, name, found, bool(by_key_alone), bool(in_doubt), tuple(names), scope)
