"""What ``clarus`` understands. Resources are imported only by the commands whose options are their attributes.

Nothing else but the standard library is imported, so that help comes at once.
"""

from __future__ import annotations

import math
from argparse import SUPPRESS, ArgumentError, ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from clarus_async._version import __version__

if TYPE_CHECKING:
    from clarus_async.resources.spec import AnySpec

_EPILOG: Final = """\
environment:
  CLARUS_SUBDOMAIN       the tenant
  CLARUS_CLIENT_ID, CLARUS_CLIENT_SECRET, CLARUS_SCOPES, CLARUS_REFRESH_TOKEN
                         what to authenticate with; secrets are never options
  CLARUS_ACCESS_TOKEN    instead of these
  CLARUS_BASE_URL        if not https://clarus-api.com
  CLARUS_CELERY_BROKER   the Redis of Celery's workers

Results are written to standard output, one JSON object a line; a configuration is never among them.
Everything else is written to standard error.

exit status:
  0  all went well
  1  a record is failed, conflict, unresolved or duplicated, or was refused; a call failed; or the results
     can't be written
  2  the command line, the configuration or the input is wrong
  130, 141, 143  stopped by Ctrl-C, by the end of whoever read the results, by SIGTERM
"""

_PROVISION: Final = """\
Create a record for every row of FILE: an integration, or what --resource names.

JSON Lines: one object a line, a configuration nested.
CSV: a header row; configuration.api_key is api_key within configuration; an empty cell is left out; a cell is true or
false, digits, or text, as its attribute is: is_active is true or false, account_id digits, name text.

A file is checked to its end first: if a row is bad, every bad row is listed and nothing is sent. From standard
input, or from a pipe, a bad row is named as it comes and the others are sent.

Each outcome is a line on standard output. After Ctrl-C no further record is begun, and what is in flight has 10 seconds
to finish; once more, and everything stops at once. With a journal, the same command goes on where it stopped, whatever
stopped it; without one, what is there already is found by its key.
"""
_REPORT: Final = """\
Print what became of the records of a journal: the counts as one JSON object on standard output, the first records that
are not there as they should be on standard error.

--look asks the server once more about every record that was ever in doubt, and prints an outcome for each before the
counts. What came late is found and named so.
"""
_CREATE: Final = """\
Create {noun}. What is nested comes as JSON; --json - reads it from standard input, which keeps secrets
out of the list of processes and the shell's history:

  clarus create --name Shop --type shopify --json - <<< '{{"configuration": {{"api_key": "..."}}}}'
"""
_UPDATE: Final = """\
Change {noun}: {attributes}.
What is not named stays as it is.
--json - reads an object from standard input, which keeps secrets out of the list of processes; null in it clears.

  clarus update 17 --set name=Shop --set is_active=false --clear string1
"""
_SIMULATOR: Final = """\
Serve a Clarus to test against, on 127.0.0.1, until Ctrl-C or SIGTERM. Its URL and its credentials are one JSON
object on standard output; the environment for clarus is shown on standard error.
"""


def build_parser(argv: Sequence[str]) -> ArgumentParser:
    """Build the parser of a command line; parsed arguments have a ``command``, and most of them a ``resource``."""
    called = next((word for word in argv if not word.startswith("-")), None)
    spec = _named_spec(argv) if called in {"list", "create", "update"} else None
    parser = ArgumentParser(
        prog="clarus",
        description="Provision and manage the integrations of a Clarus tenant.",
        epilog=_EPILOG,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"clarus {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    common = ArgumentParser(add_help=False, allow_abbrev=False)
    common.add_argument("--debug", action="store_true", default=SUPPRESS, help="show the traceback of an error")
    connected = ArgumentParser(add_help=False, allow_abbrev=False, parents=[common])
    _add_connection(connected)
    about = ArgumentParser(add_help=False, allow_abbrev=False, parents=[connected])
    about.add_argument(
        "--resource", metavar="NAME", type=_resource, default=_DEFAULT, help="what records are (default: %(default)s)"
    )

    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, parent: ArgumentParser, short: str, long: str | None = None) -> ArgumentParser:
        return commands.add_parser(
            name,
            help=short,
            description=long or f"{short[0].upper()}{short[1:]}.",
            parents=[parent],
            formatter_class=RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    _add_provision(command("provision", about, "create the records of a file", _PROVISION))
    _add_report(command("report", about, "print what became of a journal's records", _REPORT))
    _add_list(command("list", about, "list records, one a line"), spec)
    noun = "a record" if spec is None else spec.noun
    _add_create(command("create", about, "create a record", _CREATE.format(noun=noun)), spec)
    _add_update(command("update", about, "change a record", _UPDATE.format(noun=noun, attributes=_changeable(spec))))
    _add_id(command("delete", about, "delete a record; disabling an integration instead keeps its mappings"))
    _add_id(command("sync", about, "start an integration's synchronization"))
    command("ping", connected, "check that the API answers and accepts the credentials")
    _add_simulator(command("simulator", common, "serve a Clarus to test against", _SIMULATOR))
    return parser


_DEFAULT: Final = "integrations"


def _resource(name: str) -> AnySpec:
    from clarus_async.resources.table import RESOURCES

    if name not in RESOURCES:
        raise ArgumentTypeError(f"must be one of {', '.join(RESOURCES)}")
    return RESOURCES[name]


def _named_spec(argv: Sequence[str]) -> AnySpec:
    """Return what the command line says that the records are; an unknown name is refused when it is parsed."""
    from clarus_async.resources.table import RESOURCES

    only = ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    only.add_argument("--resource")
    try:
        name = only.parse_known_args(argv)[0].resource
    except ArgumentError:
        name = None
    return RESOURCES.get(name, RESOURCES[_DEFAULT])


def _changeable(spec: AnySpec | None) -> str:
    if spec is None:
        return ""
    from clarus_async.provisioning.files.attribute_types import attribute_types

    return ", ".join(attribute_types(spec.changes))


def _add_connection(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("connection", "Credentials come from the environment: see clarus --help.")
    group.add_argument("--subdomain", metavar="NAME", help="the tenant, instead of CLARUS_SUBDOMAIN")
    group.add_argument("--base-url", metavar="URL", help="where the API is, instead of CLARUS_BASE_URL")
    group.add_argument("--allow-http", action="store_true", help="allow plain http to other hosts than this one")
    group.add_argument(
        "--deadline", metavar="SECONDS", type=_seconds, help="for each call, retries and waits included (default: 120)"
    )


def _add_provision(parser: ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a file of CSV, JSON Lines or a JSON array; - is standard input")
    parser.add_argument(
        "--format", choices=("csv", "jsonl"), help="jsonl is JSON of any layout (default: as the file is)"
    )
    parser.add_argument(
        "--concurrency", metavar="N", type=_from_1_to(10_000), default=64, help="records at once (default: 64)"
    )
    parser.add_argument(
        "--journal", metavar="PATH", help="a file that makes the run resumable: the same command again goes on"
    )
    parser.add_argument(
        "--existing",
        choices=("adopt", "update", "fail", "ignore"),
        default="adopt",
        help="what to do with a record that is there already; ignore: send without looking (default: adopt)",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would happen, and send nothing that writes")
    parser.add_argument(
        "--max-failures", metavar="N", type=_count, help="stop when more records than these fail (default: never)"
    )
    parser.add_argument(
        "--celery",
        metavar="URL",
        help="have Celery workers do it: the URL of their Redis, or - for CLARUS_CELERY_BROKER; they see FILE, too",
    )
    parser.add_argument(
        "--shard-size", metavar="N", type=_from_1_to(1_000_000), default=1000, help="records a task (default: 1000)"
    )
    parser.add_argument(
        "--simulate",
        action="store_true",
        help="against a simulator in this process, with a quota and faults; needs no environment",
    )


def _add_report(parser: ArgumentParser) -> None:
    parser.add_argument("journal", metavar="JOURNAL", help="what --journal named")
    parser.add_argument("--look", action="store_true", help="ask the server about what was ever in doubt")


def _add_list(parser: ArgumentParser, spec: AnySpec | None) -> None:
    if spec is not None:
        from clarus_async.cli.attribute_options import add_attribute_options

        add_attribute_options(parser, spec.listing.filter, spec, "filter")
    parser.add_argument(
        "--page-size", metavar="N", type=_from_1_to(1000), default=100, help="rows a request (default: 100)"
    )


def _add_create(parser: ArgumentParser, spec: AnySpec | None) -> None:
    if spec is not None:
        from clarus_async.cli.attribute_options import add_attribute_options

        add_attribute_options(parser, spec.new, spec, "attributes")
    parser.add_argument("--json", metavar="OBJECT", help="attributes as a JSON object; - reads it from standard input")


def _add_update(parser: ArgumentParser) -> None:
    _add_id(parser)
    parser.add_argument(
        "--set", metavar="NAME=VALUE", action="append", default=[], type=_assignment, help="may be repeated"
    )
    parser.add_argument("--clear", metavar="NAME", action="append", default=[], help="may be repeated")
    parser.add_argument("--json", metavar="OBJECT", help="attributes as a JSON object; - reads it from standard input")


def _add_simulator(parser: ArgumentParser) -> None:
    parser.add_argument("--port", type=_port, default=0, help="default: any that is free")
    parser.add_argument(
        "--tenant", metavar="NAME", action="append", help="a subdomain it knows; may be repeated (default: acme)"
    )
    parser.add_argument(
        "--quota", metavar="N/WINDOW", type=_quota, help="requests per seconds and tenant, such as 100/1 or 600/60"
    )
    quota = parser.add_argument_group("quota", "How --quota is counted and told.")
    quota.add_argument(
        "--quota-kind",
        metavar="KIND",
        help="fixed, first-request, sliding, sliding-counter, haproxy, bucket, gcra, nginx or connections "
        "(default: sliding)",
    )
    quota.add_argument(
        "--quota-burst", metavar="N", type=_count, help="a bucket's depth (default: N), or nginx's burst (default: 0)"
    )
    quota.add_argument(
        "--quota-delay", metavar="N", type=_count, help="how many of nginx's burst go on at once (default: all)"
    )
    quota.add_argument(
        "--quota-block", metavar="SECONDS", type=_seconds, help="first-request: refuse all for so long once exceeded"
    )
    quota.add_argument(
        "--quota-also", metavar="N/WINDOW", type=_quota, help="a second quota of that kind, which must admit each too"
    )
    quota.add_argument(
        "--quota-headers",
        metavar="STYLE",
        help="none, retry-after, x-ratelimit, x-ratelimit-ms, x-ratelimit-seconds, draft-6, draft-7, draft-8 or ietf "
        "(default: retry-after)",
    )
    quota.add_argument("--quota-status", metavar="CODE", type=_count, help="of a refusal, 429 or 503 (default: 429)")
    parser.add_argument("--seed", type=int, default=0, help="makes faults, tokens and ids repeatable (default: 0)")
    parser.add_argument(
        "--faults", metavar="P", type=_probability, default=0.0, help="the share of requests that meets one, 0 to 1"
    )


def _add_id(parser: ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", type=_count, help="its Clarus id")


def _seconds(text: str) -> float:
    value = _float(text)
    if not 0 < value < math.inf:
        raise ArgumentTypeError("must be a number of seconds above 0")
    return value


def _probability(text: str) -> float:
    value = _float(text)
    if not 0 <= value <= 1:
        raise ArgumentTypeError("must be a number from 0 to 1")
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
    raise ArgumentTypeError(f"must be an integer from {lowest:,} to {highest:,}")


def _from_1_to(highest: int) -> Callable[[str], int]:
    return partial(_integer, lowest=1, highest=highest)


_count = partial(_integer, lowest=0, highest=2**63 - 1)
_port = partial(_integer, lowest=0, highest=2**16 - 1)


def _quota(text: str) -> tuple[int, float]:
    limit, slash, window = text.partition("/")
    try:
        return _integer(limit, 1, 10**9), _seconds(window if slash else "1")
    except ArgumentTypeError:
        raise ArgumentTypeError("must be requests/seconds, such as 100/1") from None


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise ArgumentTypeError("must be NAME=VALUE")
    return name, value
