"""The rows of a journal, and the statements that write and read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple


class Row(NamedTuple):
    """What the journal holds of one record.

    One without a status is an intent, and replaces all that was there. One with a status is an outcome, and leaves what
    it has ``None`` for as it was, as far as the intent's fields go.

    Args:
        n: its number in the journal, from 1.
        key: the record's.
        name: the record's, where that is not its key.
        hash: of all that was to be sent.
        idempotency_key: the same for every send.
        seen: ids that a look before the first send found; ``None`` where nobody looked.
        sent: when it was first about to be sent, in seconds since 1970.
        sends: how often it was to be sent as a new record.
        status: of its outcome; ``None`` while it is in flight.
        integration_id: of its outcome, as are the fields up to ``error``.
        matched_by: as in :class:`Outcome`.
        attempts: as in :class:`Outcome`.
        others: as in :class:`Outcome`.
        error: as in :class:`Outcome`, as plain data.
        unknown: whether it was ever in doubt.
    """

    n: int
    key: str
    name: str | None = None
    hash: str | None = None
    idempotency_key: str | None = None
    seen: Sequence[int] | None = None
    sent: float | None = None
    sends: int | None = None
    status: str | None = None
    integration_id: int | None = None
    matched_by: str | None = None
    attempts: int = 0
    others: Sequence[int] = ()
    error: dict[str, Any] | None = None
    unknown: bool = False

    @property
    def in_doubt(self) -> bool:
        """Whether it may have been sent as a new record, and nobody knows what became of that."""
        return self.status is None or (self.status == "unresolved" and bool(self.sends))


SCHEMA: Final = """
CREATE TABLE job (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE records (
  n INTEGER PRIMARY KEY, key TEXT NOT NULL, name TEXT, hash TEXT, idempotency_key TEXT, seen TEXT, sent REAL,
  sends INTEGER, status TEXT, integration_id INTEGER, matched_by TEXT, attempts INTEGER NOT NULL, others TEXT,
  error TEXT, unknown INTEGER NOT NULL);
"""
FIELDS: Final = ", ".join(Row._fields)
UPSERT: Final = f"""ON CONFLICT (n) DO UPDATE SET
  {
    ", ".join(
        f"{name} = CASE WHEN excluded.status IS NULL THEN excluded.{name} ELSE coalesce(excluded.{name}, {name}) END"
        for name in Row._fields[2:8]
    )
},
  {", ".join(f"{name} = excluded.{name}" for name in Row._fields[8:14])},
  unknown = max(unknown, excluded.unknown)"""
# A whole group in one statement: each statement that a thread runs may have to wait for the interpreter's lock.
WRITE: Final = f"""INSERT INTO records ({FIELDS})
SELECT {", ".join(f"json_extract(value, '$[{i}]')" for i in range(len(Row._fields)))} FROM json_each(?) WHERE true
{UPSERT}"""  # noqa: S608  made of field names
# SQLite's JSON ends a text at a NUL.
WRITE_ONE: Final = f"INSERT INTO records ({FIELDS}) VALUES ({', '.join('?' for _ in Row._fields)}) {UPSERT}"  # noqa: S608
READ: Final = f"SELECT {FIELDS} FROM records"  # noqa: S608  made of field names
# What is wrong with the input itself, such as a key that is there twice.
REFUSED: Final = "(coalesce(status, '') = 'failed' AND hash IS NULL)"
KNOWN: Final = f"""SELECT n, key, coalesce(name, key), integration_id,
  coalesce(status, '') = 'adopted' AND NOT coalesce(sends, 0),
  status IS NULL OR (status = 'unresolved' AND coalesce(sends, 0))
FROM records WHERE NOT {REFUSED}"""  # noqa: S608  made of constants


class Known(NamedTuple):
    """What of each record is kept at hand while a run goes on.

    Args:
        n: its number.
        key: the record's.
        name: the record's.
        integration_id: where it is known.
        by_name: it was found as it is, and nothing was sent for it.
        in_doubt: it may have been sent, and nobody knows what became of it.
    """

    n: int
    key: str
    name: str
    integration_id: int | None
    by_name: bool
    in_doubt: bool
