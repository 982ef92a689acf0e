"""The command line: ``clarus``, also ``python -m clarus_async``.

# The command line

| command | what it does |
|---|---|
| `clarus provision FILE` | create the integrations of a file |
| `clarus report JOURNAL` | print what became of a journal's records (`--look` asks the server again) |
| `clarus list` | list integrations, with filters |
| `clarus create`, `update`, `delete`, `sync` | do that to one integration |
| `clarus ping` | check that the API answers and accepts the credentials |
| `clarus simulator` | serve a Clarus API to test against |

`clarus COMMAND --help` lists the options. The tenant and the credentials come from the environment (`CLARUS_SUBDOMAIN`,
`CLARUS_CLIENT_ID`, `CLARUS_CLIENT_SECRET`; see `clarus --help`), so that no secret is in the list of processes.

Results go to standard output, one JSON object a line; a configuration is never among them. Progress, warnings and the
summary go to standard error. The exit status is

- 0 if all went well,
- 1 if a record is `failed`, `conflict`, `unresolved` or `duplicated`, a call failed, or the results can't be written,
- 2 if the command line, the configuration or the input is wrong,
- 130, 141 or 143 if the command was stopped by Ctrl-C, by the end of whoever read its results, or by SIGTERM.

# Provision a file

```sh
clarus provision integrations.csv --journal run.db
clarus provision integrations.jsonl --journal run.db --existing update --concurrency 16
clarus provision integrations.csv --dry-run
clarus report run.db --look
```

What a file may look like is described in `clarus_async.provisioning.files`, and what becomes of each record in
`clarus_async.provisioning`. Whatever stopped a run that has a journal, Ctrl-C or a power cut, the same command
continues it. The first Ctrl-C stops the input and gives what is in flight 10 seconds to finish; the second stops
everything at once.

While records are in doubt, the progress says how many, and until when. Where standard error is no terminal, or a narrow
one, progress is a plain line at least every ten seconds.

`clarus provision FILE --simulate` runs against a simulator in the same process, with a quota and faults, and needs no
environment. `--celery` has many machines work on one file: see `clarus_async.fleet`.

# One record

```sh
clarus create --name "Shopify Store" --type shopify --reference1 shop-1
clarus update 17 --set is_active=false --clear string1
clarus sync 17
clarus list --provider shopify --active
```

Configurations often hold secrets: `--json -` reads attributes from standard input, which keeps them out of the list of
processes and the shell's history.
"""

__all__: list[str] = []
