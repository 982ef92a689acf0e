"""The command line: ``clarus``, also ``python -m clarus_async`` (extra ``cli``).

# The command line

| command | what it does |
|---|---|
| `clarus check FILE` | find every problem of a file, without a connection |
| `clarus provision FILE` | create the records of a file |
| `clarus report JOURNAL` | say what became of a run; with `--html`, as a page to hand on |
| `clarus undo JOURNAL` | disable or delete exactly what a run created |
| `clarus list` | list records, with filters |
| `clarus create`, `update`, `delete`, `sync` | do that to one record, or with `--from FILE` to those of a file |
| `clarus ping` | check that the API answers and accepts the credentials |
| `clarus simulator` | serve a Clarus API to test against |
| `clarus completion SHELL` | have bash, zsh or fish complete command lines |

Every command has `--help`, with examples; all of it is on one page at the end of this chapter.

# A tour: from a customer's file to a report

A customer sends `stores.csv`, saved by Excel: separated by semicolons, in cp1252, with a column `Shop name` where a
record has `name`, and with `Remarks` that nobody needs. What is wrong with it, `check` says before anything is sent:

```sh
clarus check stores.csv
clarus check stores.csv --map "Shop name=name" --ignore-columns Remarks
```

What a run would do, field by field:

```sh
clarus provision stores.csv --map "Shop name=name" --ignore-columns Remarks --rejects rejects.csv --dry-run
```

The run itself. Bad rows go to `rejects.csv` as they stood, each with its reason; the good ones are sent. Whatever stops
it, the same command goes on:

```sh
clarus provision stores.csv --map "Shop name=name" --ignore-columns Remarks --rejects rejects.csv --journal run.db
```

Somebody corrects `rejects.csv`, and it is provisioned in the same way; then the report, for the customer:

```sh
clarus provision rejects.csv --map "Shop name=name" --ignore-columns Remarks --rejects more.csv --journal run.db
clarus report run.db --status conflict --status failed
clarus report run.db --html report.html
```

If all of that was a mistake, one command takes back what the run created, and nothing else:

```sh
clarus undo run.db --delete
```

# Settings

The tenant and the credentials come from the environment (`CLARUS_SUBDOMAIN`, `CLARUS_CLIENT_ID`,
`CLARUS_CLIENT_SECRET`), or from a file of such lines: `--env-file acme.env`, which only you may be able to read. A
secret is never an option, since others see command lines: `--client-secret-file` takes it from a file, or from standard
input. `HTTPS_PROXY` and `NO_PROXY` are heard.

# Results

Results go to standard output: a table on a terminal, else JSON Lines; `--output` chooses. In CSV, what a spreadsheet
would take for a formula has an apostrophe before it. A configuration is never among them. Progress, warnings and the
summary go to standard error: a bar where there is a terminal, else a plain line at least every ten seconds. `-v` or
`CLARUS_LOG=info` says what is done, `-vv` or `CLARUS_LOG=debug` each request. The exit status is

- 0 if all went well,
- 1 if a record is `failed`, `conflict`, `unresolved` or `duplicated`, a call failed, or the results can't be written,
- 2 if the command line, the configuration or the input is wrong,
- 130, 141 or 143 if the command was stopped by Ctrl-C, by the end of whoever read its results, or by SIGTERM.

The first Ctrl-C stops the input and gives what is in flight 10 seconds to finish; the second stops everything at once.

# Reports

`clarus report run.db` says the counts, and in a pipe, or with `--status` or `--output`, writes the outcomes. The page
of `--html` loads nothing and needs no network. It holds keys, ids and what the server said, so only you can read the
file until you say otherwise; it never holds a configuration.

# Files and runs

What a file may look like is described in `clarus_async.provisioning.files`, and what becomes of each record in
`clarus_async.provisioning`. `clarus provision FILE --simulate` runs against a simulator in the same process, with a
quota and faults, and needs no environment. `--celery` has many machines work on one file: see `clarus_async.fleet`.

# One record

```sh
clarus create --name "Shopify Store" --type shopify --reference1 shop-1
clarus update 17 --set is_active=false --clear string1
clarus sync 17
clarus list --provider shopify --active
```

Configurations often hold secrets: `--json -` reads attributes from standard input, which keeps them out of the list of
processes and the shell's history.

.. include:: REFERENCE.md
"""

__all__: list[str] = []
