"""Provisioning: many creates from one input, one outcome for each record, and a journal to resume from.

# Provisioning

```python
from clarus_async import ClarusClient, ClientCredentials, NewIntegration

shops = (NewIntegration(name=f"Shop {n}", integration_type="shopify") for n in range(100))

async with ClarusClient("acme", ClientCredentials("id", "secret")) as clarus:
    async with clarus.integrations.provision(shops, concurrency=16, journal="run.db") as run:
        async for outcome in run:
            if not outcome.status.ok:
                print(outcome.key, outcome.status, outcome.error)
    print(run.report.as_dict())
```

The input is an iterable or an async iterable. Records are pulled from it only a little faster than they are sent, so it
may be of any length. Each input record has exactly one outcome, and outcomes come in the order in which they are known:

| status | the record |
|---|---|
| `created` | was created by this run |
| `adopted` | was there already, or was found after a create whose answer was lost |
| `updated` | was there already and has been changed (`existing="update"`) |
| `failed` | was not created; `error` says why |
| `conflict` | can't be told from other records that are there (`others`), so nothing was sent |
| `unresolved` | may be there: nobody can tell, and `error` says why |
| `duplicated` | is there more than once; `others` has the ids of the further ones |
| `would_create`, `would_update` | in a dry run: would be; `changes` says what of it, attribute by attribute |

`report = await clarus.integrations.provision(shops)` is enough where only the report matters. A run that is neither
read nor awaited does nothing, and says so: it raises where its `async with` is left, and warns where it is dropped.

A record that fails never stops the others, unless there are more such records than `max_failures`: then what is in
flight ends, and the run raises `ClarusError`. What would fail every record (refused credentials, a redirect, a full
disk) stops the run in the same way, and is raised once what was in flight has ended.

# Records that are there already

A record's key is its `external_system_reference1`, or its `name` where it has no reference. A run looks each record up
before it sends it, about fifty in one query: by the reference where the tenant's schema can be searched by it,
otherwise by the name. `existing` says what to do with a record that is found:

| `existing` | a record that is there already |
|---|---|
| `"adopt"` | is `adopted`; running the same input again creates nothing |
| `"update"` | is `updated` with the attributes that can be changed; `unpatched` names the others |
| `"fail"` | is `failed` |
| `"ignore"` | is not looked for |

The outcome of an adopted record names in `differs` the attributes that have other values than the input. They are known
from the list, and for records that the same job created or updated, from its journal.

Where several records have the key, or where a record with another name has the reference, the outcome is `conflict`. A
key that is twice in one input is `failed` for the second record. With `dry_run=True`, a run says what would be, and
sends nothing that writes: `changes` has an attribute's value before and after, where it is known and can't be a secret.

What the server lists is read as far as it can be. A field that is null or malformed is `None`, and the row's `extra`
has its value; a row without an id is left out with a warning. To adopt a record, its id and the key it was found by are
enough. A row that can't be told apart leaves undecided only the records that it may be.

# Creates in doubt

A create that got no clear answer is in doubt: it may have been applied. The run looks such a record up until it is
settled, and sends the others meanwhile. `run.progress` says how many records are in doubt, and until when (below).

- Found once, the record is `adopted`.
- Not found `Timeouts.settle` seconds after the attempt was given up, it is sent again. It is looked up once more
  `settle` seconds after the last send, and its outcome is given then.

So no record is there twice if the server applies a request within `settle` (60 seconds by default). What the server
applied later, and is there at that last look, is named as `duplicated`. "Not found" counts only if the list was read to
its end and without errors.

Records that can only be looked up by a name that they share are sent one after another, since a record that is found by
that name may be any of them. Where nothing was looked up before the send (`existing="ignore"`, and a single `create`),
a record answers for the send if it was created since, by the server's clock. If somebody else made a record of the same
name in the same second or two, it can't be told from ours.

# Progress

`run.progress` says at any time how far a run is, and `on_progress=` is called with the same after each outcome. While
records in doubt are waited for, or the tenant is paused, no outcome comes: whoever shows progress to a person looks at
`run.progress` now and then.

```python
from clarus_async import ClarusClient, ClientCredentials, NewIntegration, Progress


def show(progress: Progress) -> None:
    print(f"{progress.report.total} of {progress.total}, {progress.recent_rate:.0f}/s ({progress.bottleneck})")
    if progress.in_doubt:
        print(f"{progress.in_doubt} in doubt until {progress.settles_at:%H:%M:%S %Z}")
    if progress.paused_until is not None:
        print(f"nothing is sent before {progress.paused_until:%H:%M:%S %Z}")
    if progress.eta is not None:
        print(f"{progress.eta:.0f} s left")


shops = [NewIntegration(name=f"Shop {n}", integration_type="shopify") for n in range(100)]

async with ClarusClient("acme", ClientCredentials("id", "secret")) as clarus:
    async with clarus.integrations.provision(shops, on_progress=show) as run:
        async for outcome in run:
            pass
```

`bottleneck` is what limits the pace: the `rate limit`, the `server`, an `outage`, `lookups`, the `input`, the `reader`
of the outcomes, or `settling`. With the `server`, a larger `concurrency` may help. `eta` is known where the input has a
length. It counts on as many lost answers as there were so far, so one lost answer at the end is not foreseen, and makes
a run longer by up to twice `settle`.

# The journal

`journal=` names an SQLite file in which the run writes what it is about to send before it sends it, and each outcome
before you are told. After a crash, a `kill -9` or Ctrl-C, the same input with the same journal does what is left to do.

- It holds keys, ids, hashes and times, and never a record or a secret. Only its owner can read the file.
- It belongs to one tenant, and to one process at a time. Copy it only together with its `-wal` file.
- It answers for a record as long as the record and `existing` are the same. A corrected row, or another `existing`, is
  decided anew.
- A record that the job itself created, and whose row has not changed, does not count as "there already": `"fail"` and
  `"ignore"` leave it alone. If its row is given another name, the record is still that row's.
- The journal of an earlier version is converted when it is opened. The earlier version can't open it any more.

`clarus.integrations.review(journal)` asks the server once more about every record that was ever in doubt, and
`clarus report` prints what became of a run (see `clarus_async.cli`).

# Undo, and operations on many records

`clarus undo run.db` disables what a run created, or deletes it with `--delete`: what was created, and what was found
after a create whose answer was lost, with all that is there of a record that is `duplicated`. What was there before is
left alone. The server is asked first about what was ever in doubt; what still is, is `unresolved` and left alone, too.

`clarus delete`, `update` and `sync` do with `--from FILE` to each record of a file what they do to one. These runs have
three more statuses:

| status | the record |
|---|---|
| `deleted` | is not there any more |
| `disabled` | is there, and not active |
| `synchronized` | has begun to synchronize |

All of them keep to the tenant's pace, and go on where they stopped when the same command is run again: `undo` by the
run's journal, which notes what is undone, and the others by a `--journal` of their own. A deletion or a change that was
not answered is sent again, which does no harm; a record that is still not answered is `unresolved`. A synchronization
that may have begun is never sent again, after a crash neither: it is `unresolved`, and the record itself shows whether
it did. Provisioning the same input with the same journal after an undo creates what was deleted anew.
"""

__all__ = ["files"]
