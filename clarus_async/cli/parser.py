"""What ``clarus`` understands: its commands, their options and their help.

A command returns its arguments, and ``commands`` runs the module that they name. Resources are imported only by the
commands whose options are their attributes, so that help comes at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import click
from click.shell_completion import CompletionItem

from clarus_async._version import __version__

if TYPE_CHECKING:
    from clarus_async.resources.spec import AnySpec

_DEFAULT: Final = "integrations"
_WIDEST: Final = 100  # columns of help


class Option(click.Option):
    """An option, and the section of the help where it stands.

    Args:
        declared: its names and what its value is called, as in ``"-o --output FILE"``.
        text: what its help says.
        type: of its value.
        more: as click has it.
    """

    def __init__(self, declared: str, text: str = "", type: Any = None, **more: Any) -> None:  # noqa: A002, ANN401
        names = [word for word in declared.split() if word.startswith("-")]
        metavar = declared.rsplit(maxsplit=1)[-1] if declared.rsplit(maxsplit=1)[-1] not in names else None
        dest = [more.pop("dest")] if "dest" in more else []
        super().__init__(names + dest, type=type, help=text, metavar=metavar, **more)
        self.section: str = "Options"


def _section(title: str, *options: Option) -> list[Option]:
    for option in options:
        option.section = title
    return list(options)


class Command(click.Command):
    """A command with examples; it returns its arguments, which name the ``module`` that runs it.

    Args:
        name: as it is called.
        module: of this package; its ``main`` takes the arguments.
        text: what its help says.
        examples: command lines.
        params: its arguments and options.
        record: where attributes of a resource's class are options, takes a spec and returns that class.
    """

    def __init__(
        self,
        name: str,
        module: str,
        text: str,
        examples: Sequence[str],
        params: Iterable[click.Parameter],
        record: Callable[[AnySpec], type[Any]] | None = None,
    ) -> None:
        verbose = Option("-v --verbose", "Say what is done; -vv: each request, and tracebacks.", count=True)
        settings = {"help_option_names": ["-h", "--help"], "max_content_width": _WIDEST, "allow_extra_args": True}
        super().__init__(name, settings, self._arguments, [*params, verbose], text)
        self.examples: Sequence[str] = examples
        self._module = module
        self._record = record

    def _arguments(self, **given: Any) -> SimpleNamespace:  # noqa: ANN401
        return SimpleNamespace(command=self.name, module=self._module, **given)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the rest of the command line, whose ``--resource`` says which options there are."""
        following = dict(pairwise(args))
        equal = (word.removeprefix("--resource=") for word in args if word.startswith("--resource="))
        ctx.meta[_SPEC_NAME] = following.get("--resource") or next(equal, _DEFAULT)
        rest = super().parse_args(ctx, args)
        if ctx.args and not ctx.resilient_parsing:
            # What is given by mistake may be a secret.
            ctx.fail(f"{len(ctx.args)} more argument{'s' * (len(ctx.args) > 1)} than {self.name} takes.")
        return rest

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return its parameters, those that are attributes of its resource included."""
        params = super().get_params(ctx)
        spec = _table().get(ctx.meta.get(_SPEC_NAME, _DEFAULT)) if self._record is not None else None
        if spec is None or self._record is None:
            return params
        from clarus_async.cli.attribute_options import attribute_options

        return [*attribute_options(self._record(spec), spec), *params]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options by section, then the examples."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if isinstance(param, click.Option) and (record := param.get_help_record(ctx)) is not None:
                sections.setdefault(getattr(param, "section", "Options"), []).append(record)
        for section, records in sections.items():
            with formatter.section(section):
                formatter.write_dl(records)
        with formatter.section("Examples"):
            for example in self.examples:
                formatter.write(f"  {example}\n")


_SPEC_NAME: Final = "clarus_async.resource"


def _table() -> Mapping[str, AnySpec]:
    from clarus_async.resources.table import RESOURCES

    return RESOURCES


# --- values


class _Value(click.ParamType[Any]):
    """A value that is read by a function, which raises ``ValueError`` with what it must be."""

    def __init__(self, name: str, read: Callable[[str], object], values: Callable[[], Iterable[str]] = tuple) -> None:
        self.name = name
        self._read = read
        self._values = values

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401
        if not isinstance(value, str):
            return value
        try:
            return self._read(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)

    def shell_complete(  # of click.ParamType
        self, _: click.Context, __: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return [CompletionItem(value) for value in self._values() if value.startswith(incomplete)]


def _spec(name: str) -> AnySpec:
    if name not in _table():
        raise ValueError(f"must be one of {', '.join(_table())}")
    return _table()[name]


def _seconds(text: str) -> float:
    if not 0 < (value := _float(text)) < math.inf:
        raise ValueError("must be a number of seconds above 0")
    return value


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _integer(text: str, lowest: int, highest: int) -> int:
    # No accepted number has more digits, and int() of a long text is slow.
    if text.isascii() and text.isdigit() and len(text) <= 19 and lowest <= int(text) <= highest:
        return int(text)
    raise ValueError(f"must be an integer from {lowest:,} to {highest:,}")


def _quota(text: str) -> tuple[int, float]:
    limit, slash, window = text.partition("/")
    try:
        return _integer(limit, 1, 10**9), _seconds(window if slash else "1")
    except ValueError:
        raise ValueError("must be requests/seconds, such as 100/1") from None


def _probability(text: str) -> float:
    if not 0 <= (value := _float(text)) <= 1:
        raise ValueError("must be a number from 0 to 1")
    return value


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise ValueError("must be NAME=VALUE")
    return name, value


def _from(lowest: int, highest: int) -> _Value:
    return _Value("n", partial(_integer, lowest=lowest, highest=highest))


_COUNT: Final = _from(0, 2**63 - 1)
_DASH: Final = click.Path(allow_dash=True)
_FILE: Final = click.Path()  # what is wrong with it is said where it is opened
_QUOTA: Final = _Value("n/window", _quota)
_SECONDS: Final = _Value("seconds", _seconds)


# --- options that several commands have


def _connection(*, resource: bool = True) -> list[Option]:
    options = _section(
        "Connection",
        Option("--subdomain NAME", "The tenant, instead of CLARUS_SUBDOMAIN."),
        Option("--base-url URL", "Where the API is, instead of CLARUS_BASE_URL."),
        Option("--env-file FILE", "Read CLARUS_* variables from FILE, which only you may be able to read.", _FILE),
        Option("--client-secret-file FILE", "Read the client secret from FILE; - is standard input.", _DASH),
        Option("--allow-http", "Allow plain http to other hosts than this one.", is_flag=True),
        Option("--deadline SECONDS", "For each call, retries and waits included.  [default: 120]", _SECONDS),
    )
    return [*_section("Connection", _resource()), *options] if resource else options


def _resource() -> Option:
    kind = _Value("name", _spec, lambda: _table())  # noqa: PLW0108  it imports
    return Option("--resource NAME", "What the records are.", kind, default=_DEFAULT, show_default=True)


def _reading() -> list[Option]:
    return _section(
        "File",
        Option("--format", "jsonl is JSON of any layout.  [default: as the file is]", click.Choice(_FORMATS)),
        Option("--delimiter CHARACTER", "What separates the cells, or: tab.  [default: as the header is]"),
        Option("--encoding NAME", "Such as cp1252.  [default: as the file is]"),
        Option("--map HEADER=ATTRIBUTE", 'Such as --map "Shop name=name"; may be repeated.', multiple=True),
        Option("--ignore-columns HEADER,…", "Columns that are left out; may be repeated.", multiple=True),
    )


_EXISTING_CHOICE: Final = click.Choice(["adopt", "update", "fail", "ignore"])
_FORMATS: Final = ("csv", "jsonl", "xlsx")
_CONCURRENCY: Final = partial(
    Option, "--concurrency N", "Records at once.", _from(1, 10_000), default=64, show_default=True
)
_DRY_RUN: Final = partial(Option, "--dry-run", "Say what would happen, and send no change.", is_flag=True)
_JOURNAL: Final = partial(Option, "--journal FILE", "The same command again goes on where it stopped.", _FILE)
_MAX_FAILURES: Final = partial(Option, "--max-failures N", "Stop when more records than these fail.", _COUNT)
_YES: Final = partial(Option, "-y --yes", "Don't ask.", is_flag=True)


def _output() -> Option:
    text = "How results are written.  [default: table on a terminal, else jsonl]"
    return Option("--output", text, click.Choice(["table", "jsonl", "csv"]))


def _many() -> list[Option]:
    """What changes the records of a file instead of one."""
    return _section(
        "Many records",
        Option("--from FILE", "Do it to each record of FILE, which has their ids.", _FILE, dest="from_file"),
        *(_YES(), _DRY_RUN(), _JOURNAL(), _CONCURRENCY(), _MAX_FAILURES()),
    )


_JSON_TEXT: Final = "Attributes as a JSON object; - reads it from standard input, which keeps it out of the history."
_JSON: Final = partial(Option, "--json OBJECT", _JSON_TEXT)


def _argument(name: str, type: Any = _FILE, *, required: bool = True) -> click.Argument:  # noqa: A002, ANN401
    return click.Argument([name], type=type, required=required)


# --- commands

_EPILOG: Final = """\
\b
Environment:
  CLARUS_SUBDOMAIN       the tenant
  CLARUS_CLIENT_ID, CLARUS_CLIENT_SECRET, CLARUS_SCOPES, CLARUS_REFRESH_TOKEN
                         what to authenticate with; secrets are never options
  CLARUS_ACCESS_TOKEN    instead of these
  CLARUS_BASE_URL        if not https://clarus-api.com
  CLARUS_CELERY_BROKER   the Redis of Celery's workers
  CLARUS_LOG             warning, info or debug, as -v and -vv
  HTTPS_PROXY, NO_PROXY  the proxy that leads out

\b
Exit status:
  0  all went well
  1  a record is failed, conflict, unresolved or duplicated; a call failed;
     or the results can't be written
  2  the command line, the configuration or the input is wrong
  130, 141, 143  stopped by Ctrl-C, by the end of whoever read the results,
     by SIGTERM

Results are written to standard output; a configuration is never among them. Everything else is written to standard
error.
"""
_PROVISION: Final = """\
Create a record for every row of FILE.

FILE is CSV, JSON Lines, a JSON array or an Excel workbook, or one of these compressed by gzip; - is standard input. It
is checked to its end first, as by clarus check: if a row is bad, nothing is sent, or with --rejects the others.

Records that are there already are adopted. After Ctrl-C no further record is begun, and what is in flight has 10
seconds to finish; once more, and everything stops at once. With a journal, the same command goes on where it stopped,
whatever stopped it.
"""
_CHECK: Final = """\
Check a file, without a connection.

Every problem is shown by line and column, as clarus provision would find it.
"""
_REPORT: Final = """\
Print what became of the records of a journal.

At a terminal, that is the counts, and with --status or --output the outcomes, too; in a pipe, the outcomes. --look asks
the server once more about every record that was ever in doubt: what came late is found and named.
"""
_UNDO: Final = """\
Disable or delete exactly what a run created.

It is said first how many records these are. They are disabled, which keeps what hangs on them, or deleted. What was
there before is left alone. The same command again goes on where it stopped.
"""
_SIMULATOR: Final = """\
Serve a Clarus API to test against.

It listens on 127.0.0.1 until Ctrl-C or SIGTERM. Its URL and its credentials are one JSON object on standard output;
the environment for clarus is shown on standard error.
"""
_KINDS: Final = "fixed, first-request, sliding, sliding-counter, haproxy, bucket, gcra, nginx or connections"
_HEADERS: Final = "none, retry-after, x-ratelimit, x-ratelimit-ms, x-ratelimit-seconds, draft-6, draft-7, draft-8, ietf"
_EXISTING: Final = "What to do with a record that is there already; ignore: send without looking."
_REJECTS: Final = "Send the good rows, and write the others there as they stood, with the reason, to be corrected."
_CELERY: Final = "Have Celery workers do it: the URL of their Redis, or - for CLARUS_CELERY_BROKER."


def _simulator_options() -> list[Option]:
    return [
        Option("--port N", "[default: any that is free]", _from(0, 2**16 - 1), default=0),
        Option("--tenant NAME", "A subdomain; may be repeated.  [default: acme]", multiple=True),
        Option("--seed N", "Makes faults, tokens and ids repeatable.", int, default=0),
        Option("--faults P", "The share of requests that meets one, 0 to 1.", _Value("p", _probability), default=0.0),
        *_section(
            "Quota",
            Option("--quota N/WINDOW", "Requests per seconds and tenant, such as 100/1.", _QUOTA),
            Option("--quota-kind KIND", f"{_KINDS}.  [default: sliding]"),
            Option("--quota-burst N", "A bucket's depth (default: N), or nginx's burst (default: 0).", _COUNT),
            Option("--quota-delay N", "How many of nginx's burst go on at once.  [default: all]", _COUNT),
            Option("--quota-block SECONDS", "first-request: refuse all for so long once exceeded.", _SECONDS),
            Option("--quota-also N/WINDOW", "A second quota of that kind, which must admit each too.", _QUOTA),
            Option("--quota-headers STYLE", f"{_HEADERS}.  [default: retry-after]"),
            Option("--quota-status CODE", "Of a refusal, 429 or 503.  [default: 429]", _COUNT),
        ),
    ]


def _commands() -> Iterable[Command]:
    yield Command(
        "provision",
        "provision",
        _PROVISION,
        [
            "clarus provision stores.csv --dry-run",
            "clarus provision stores.xlsx --journal run.db --rejects rejects.csv",
            "clarus provision stores.csv --simulate",
        ],
        [
            _argument("file", _DASH),
            _JOURNAL(),
            Option(
                "--existing",
                _EXISTING,
                _EXISTING_CHOICE,
                default="adopt",
                show_default=True,
            ),
            _DRY_RUN(),
            Option("--rejects FILE", _REJECTS, _FILE),
            *(_MAX_FAILURES(), _CONCURRENCY(), _output()),
            Option("--simulate", "Against a simulator with a quota and faults; needs no environment.", is_flag=True),
            *_section(
                "Many machines",
                Option("--celery URL", _CELERY),
                Option("--shard-size N", "Records a task.", _from(1, 1_000_000), default=1000, show_default=True),
            ),
            *(*_reading(), *_connection()),
        ],
    )
    yield Command(
        "check",
        "check",
        _CHECK,
        ["clarus check stores.csv", 'clarus check stores.xlsx --map "Shop name=name" --ignore-columns Remarks'],
        [_argument("file", _DASH), _resource(), *_reading()],
    )
    yield Command(
        "report",
        "journal_report",
        _REPORT,
        [
            "clarus report run.db --status conflict --status failed",
            "clarus report run.db --output csv > outcomes.csv",
            "clarus report run.db --html report.html",
        ],
        [
            _argument("journal"),
            Option("--status STATUS", "Only outcomes with this status, or in-flight; may be repeated.", multiple=True),
            Option("--html FILE", "Write one page to hand on: sums, what needs a look, pace, lost answers.", _FILE),
            Option("--look", "Ask the server about what was ever in doubt; these are the results.", is_flag=True),
            *(_output(), *_connection(resource=False)),
        ],
    )
    yield Command(
        "undo",
        "undo",
        _UNDO,
        ["clarus undo run.db --dry-run", "clarus undo run.db --delete"],
        [
            _argument("journal"),
            Option("--delete", "Delete them, with what hangs on them.", is_flag=True),
            *(_YES(), _DRY_RUN(), _CONCURRENCY(), _MAX_FAILURES(), _output(), *_connection()),
        ],
    )
    pages = Option("--page-size N", "Rows a request.", _from(1, 1000), default=100, show_default=True)
    yield Command(
        "list",
        "operations",
        "List records, one a line.",
        ["clarus list --provider shopify --active --output csv > stores.csv"],
        [pages, _output(), *_connection()],
        lambda spec: spec.listing.filter,
    )
    yield Command(
        "create",
        "operations",
        "Create a record. What is nested comes as JSON.",
        [
            "clarus create --name Shop --type shopify --reference1 shop-1",
            "clarus create --name Shop --type shopify --json - < configuration.json",
        ],
        [_JSON(), _output(), *_connection()],
        lambda spec: spec.new,
    )
    one_or_many = [_argument("id", _COUNT, required=False), _output(), *_many(), *_reading(), *_connection()]
    assigned = _Value("name=value", _assignment)
    yield Command(
        "update",
        "operations",
        "Change a record, or those of a file. What is not named stays as it is.",
        [
            "clarus update 17 --set name=Shop --set is_active=false --clear string1",
            "clarus update --from changes.csv --journal changes.db",
        ],
        [
            Option("--set NAME=VALUE", "May be repeated.", assigned, multiple=True),
            Option("--clear NAME", "Make it null; may be repeated.", multiple=True),
            *(_JSON(), *one_or_many),
        ],
    )
    for name, text, file in (
        ("delete", "Delete a record, or those of a file. Disabling an integration keeps its mappings.", "old.csv"),
        ("sync", "Start the synchronization of a record, or of those of a file.", "stores.csv"),
    ):
        examples = [f"clarus {name} 17", f"clarus {name} --from {file} --journal {name}.db"]
        yield Command(name, "operations", text, examples, one_or_many)
    yield Command(
        "ping",
        "operations",
        "Check that the API answers and accepts the credentials.",
        ["clarus ping --env-file production.env"],
        [_output(), *_connection(resource=False)],
    )
    example = "clarus simulator --quota 100/1 --faults 0.03"
    yield Command("simulator", "simulate", _SIMULATOR, [example], _simulator_options())
    yield Command(
        "completion",
        "completion",
        "Print what makes a shell complete clarus command lines.",
        [
            'eval "$(clarus completion bash)"   # in ~/.bashrc',
            'eval "$(clarus completion zsh)"    # in ~/.zshrc',
            "clarus completion fish | source    # in ~/.config/fish/config.fish",
        ],
        [_argument("shell", click.Choice(["bash", "zsh", "fish"]))],
    )


class _Group(click.Group):
    """The commands, in the order in which somebody needs them."""

    def list_commands(self, _: click.Context) -> list[str]:
        return list(self.commands)


def build_parser() -> click.Group:
    """Build the parser of a command line; a command returns its arguments."""
    return _Group(
        "clarus",
        {command.name or "": command for command in _commands()},
        help="Provision and manage the integrations of a Clarus tenant.",
        epilog=_EPILOG,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": _WIDEST},
        params=[
            click.Option(
                ["--version"],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=_show_version,
                help="Show the version.",
            )
        ],
    )


def _show_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(f"clarus {__version__}")
        ctx.exit()
