"""The command line's entry: dispatches a command, and turns what goes wrong into one line and an exit status."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence

from clarus_async.cli.parser import build_parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``clarus``.

    Args:
        argv: the arguments; those of the process by default.

    Returns:
        The exit status.

    Raises:
        SystemExit: help was asked for, or the command line can't be understood.
    """
    parser = build_parser()
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        # Their names alone: what is given by mistake may be a secret.
        named = (word.partition("=")[0] if word.startswith("-") else "…" for word in unknown)
        parser.error(f"unrecognized arguments: {' '.join(named)}")
    # Imported only now, so that help and usage errors come at once.
    from clarus_async.cli import output

    try:
        return _run(args)
    except BrokenPipeError:
        return output.Exit.READER_GONE
    except KeyboardInterrupt:
        return output.Exit.INTERRUPTED
    except Exception as error:  # noqa: BLE001  the outermost frame: nobody else is there to tell
        if args.debug:
            traceback.print_exc(file=sys.stderr)
        text, status = output.explain(error)
        output.say(f"clarus: error: {text}")
        return status


def _run(args: argparse.Namespace) -> int:
    match args.command:
        case "provision" if args.celery is not None:
            from clarus_async.cli import machines

            return machines.main(args)
        case "provision":
            from clarus_async.cli import provision

            return provision.main(args)
        case "report":
            from clarus_async.cli import report

            return report.main(args)
        case "simulator":
            from clarus_async.cli import simulate

            return simulate.serve(args)
        case _:
            from clarus_async.cli import resource

            return resource.main(args)
