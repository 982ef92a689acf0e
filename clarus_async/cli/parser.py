"""What ``clarus`` understands. Nothing but the standard library is imported, so that help comes at once."""

from __future__ import annotations

import math
from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from collections.abc import Callable
from typing import Any, Final

from clarus_async._version import __version__

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

# The option's name, the attribute's name, and what it is.
ATTRIBUTE_OPTIONS: Final = (
    ("--name", "name", "what people see"),
    ("--type", "integration_type", "such as shopify, or a category such as ecommerce"),
    ("--provider", "provider", "such as shopify"),
    ("--account-id", "account_id", "default account of imported orders"),
    ("--warehouse-id", "warehouse_id", "default warehouse of imported orders"),
    ("--reference1", "external_system_reference1", "your own primary id"),
    ("--reference2", "external_system_reference2", "a further reference"),
    ("--reference3", "external_system_reference3", "a further reference"),
    *((f"--string{n}", f"string{n}", "free text") for n in range(1, 6)),
)

_PROVISION: Final = """\
Create an integration for every record of FILE.

JSON Lines: one object a line, its configuration nested.
CSV: a header row; configuration.api_key is api_key within configuration; an empty cell is left out; is_active is
true or false; account_id and warehouse_id are digits; all else is text.

A file is checked to its end first: if a row is bad, every bad row is listed and nothing is sent. From standard
input, or from a pipe, a bad row is named as it comes and the others are sent.

Each outcome is a line on standard output. Ctrl-C stops the intake and gives what is in flight 10 seconds to finish;
once more, and everything stops at once. With a journal, the same command goes on where it stopped, whatever stopped
it; without one, what is there already is found by its key.
"""
_REPORT: Final = """\
Print what became of the records of a journal: the counts as one JSON object on standard output, the first records that
are not there as they should be on standard error.

--look asks the server once more about every record that was ever in doubt, and prints an outcome for each before the
counts. What came late is found and named so.
"""
_CREATE: Final = """\
Create an integration. A configuration comes as JSON; --json - reads it from standard input, which keeps secrets
out of the list of processes and the shell's history:

  clarus create --name Shop --type shopify --json - <<< '{"configuration": {"api_key": "..."}}'
"""
_UPDATE: Final = """\
Change an integration: name, is_active, configuration, string1 to string5. What is not named stays as it is.
--json - reads an object from standard input, which keeps secrets out of the list of processes; null in it clears.

  clarus update 17 --set name=Shop --set is_active=false --clear string1
"""
_SIMULATOR: Final = """\
Serve a Clarus to test against, on 127.0.0.1, until Ctrl-C or SIGTERM. Its URL and its credentials are one JSON
object on standard output; the environment for clarus is shown on standard error.
"""


def build_parser() -> ArgumentParser:
    """Build the parser; parsed arguments have a ``command``."""
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

    _add_provision(command("provision", connected, "create the integrations of a file", _PROVISION))
    _add_report(command("report", connected, "print what became of a journal's records", _REPORT))
    _add_list(command("list", connected, "list integrations, one a line"))
    _add_create(command("create", connected, "create an integration", _CREATE))
    _add_update(command("update", connected, "change an integration", _UPDATE))
    _add_id(command("delete", connected, "delete an integration; disabling it instead keeps its mappings"))
    _add_id(command("sync", connected, "start an integration's synchronization"))
    command("ping", connected, "check that the API answers and accepts the credentials")
    _add_simulator(command("simulator", common, "serve a Clarus to test against", _SIMULATOR))
    return parser


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


def _add_list(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("filter", "An option given several times means any of its values.")
    group.add_argument("--name", action="append", help="the exact name")
    group.add_argument("--name-contains", metavar="TEXT", help="a part of the name, whatever its case")
    group.add_argument("--provider", action="append", help="such as shopify")
    group.add_argument("--type", action="append", dest="integration_type", help="such as ecommerce")
    group.add_argument("--status", action="append", help="such as active")
    _add_is_active(group)
    parser.add_argument(
        "--page-size", metavar="N", type=_from_1_to(1000), default=100, help="rows a request (default: 100)"
    )


def _add_create(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("attributes")
    for option, attribute, meaning in ATTRIBUTE_OPTIONS:
        group.add_argument(option, dest=attribute, metavar="VALUE", help=meaning)
    _add_is_active(group)
    group.add_argument("--json", metavar="OBJECT", help="attributes as a JSON object; - reads it from standard input")


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
    parser.add_argument("id", metavar="ID", type=_id, help="the integration's Clarus id")


def _add_is_active(group: Any) -> None:  # noqa: ANN401  argparse does not name the class of its groups
    either = group.add_mutually_exclusive_group()
    either.add_argument("--active", dest="is_active", action="store_true", default=None, help="enabled")
    either.add_argument("--inactive", dest="is_active", action="store_false", default=None, help="disabled")


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
    return lambda text: _integer(text, 1, highest)


def _count(text: str) -> int:
    return _integer(text, 0, 2**63 - 1)


def _port(text: str) -> int:
    return _integer(text, 0, 2**16 - 1)


_id = _count


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
