"""The command line's entry: dispatches a command, and turns what goes wrong into one line and an exit status."""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Final

from clarus_async.cli import streams
from clarus_async.cli.parser import build_parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``clarus`` with these arguments, or those of the process, and return the exit status."""
    streams.reserve_descriptors()
    debug = False
    try:
        args = _parse(sys.argv[1:] if argv is None else argv)
        debug = args.debug
        # Nothing is begun where its results could not be written.
        streams.write_to_stdout(b"")
        return _run(args)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  the outermost frame: no caller could handle it
        return _end(error, debug=debug)
    finally:
        streams.empty_buffers()


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = build_parser(argv)
    shown, said = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(said):
            args, unknown = parser.parse_known_args(argv)
            if unknown:
                # Their names alone: what is given by mistake may be a secret.
                named = (word.partition("=")[0] if word.startswith("-") else "…" for word in unknown)
                parser.error(f"unrecognized arguments: {' '.join(named)}")
    except SystemExit:
        for line in said.getvalue().splitlines():
            streams.say(line)
        if shown.getvalue():
            streams.write_to_stdout(streams.encode(shown.getvalue(), sys.stdout))
        raise
    return args


def _end(error: BaseException, *, debug: bool) -> int:
    # Imported only now, so that help and usage errors come at once.
    from clarus_async.cli import output

    if isinstance(error, BrokenPipeError):
        return output.Exit.READER_GONE
    if not isinstance(error, Exception):
        return output.Exit.INTERRUPTED
    if debug:
        for line in "".join(traceback.format_exception(error)).splitlines():
            streams.say(line)
    text, status = output.explain(error)
    streams.say(f"clarus: error: {text}")
    return status


_MODULES: Final = {"provision": "provision", "report": "journal_report", "simulator": "simulate"}


def _run(args: argparse.Namespace) -> int:
    name = _MODULES.get(args.command, "operations")
    if name == "provision" and args.celery is not None:
        name = "provision_fleet"
    # Each is imported only where its command is given: what they need takes a while to import.
    status: int = import_module(f"clarus_async.cli.{name}").main(args)
    return status
