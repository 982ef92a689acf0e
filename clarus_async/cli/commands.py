"""The command line's entry: dispatches a command, and turns what goes wrong into one line and an exit status."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from types import SimpleNamespace
from typing import Final

from clarus_async.cli import streams

_WRONG: Final = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``clarus`` with these arguments, or those of the process, and return the exit status."""
    streams.reserve_descriptors()
    verbose = 0
    try:
        args = parse(sys.argv[1:] if argv is None else argv)
        if isinstance(args, int):
            return args
        verbose = args.verbose
        # Nothing is begun where its results could not be written.
        streams.write_to_stdout(b"")
        with streams.logging_at(_level(args.verbose)):
            # Each is imported only where its command is given: what they need takes a while to import.
            status: int = import_module(f"clarus_async.cli.{args.module}").main(args)
        return status
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  the outermost frame: no caller could handle it
        return _end(error, verbose=verbose)
    finally:
        streams.empty_buffers()


def parse(argv: Sequence[str]) -> SimpleNamespace | int:
    """Return the arguments of a command, or the exit status where all is said."""
    try:
        from click import ClickException, UsageError
        from click.exceptions import NoArgsIsHelpError

        from clarus_async.cli.parser import build_parser
    except ImportError:
        streams.say("clarus: error: the command line needs its extra: pip install 'clarus-async[cli]'")
        return _WRONG
    shown, status = io.TextIOWrapper(io.BytesIO(), "utf-8"), 0
    try:
        # Help and completions come through here, so that a stream that can't show or take them ends in a message.
        with contextlib.redirect_stdout(shown):
            args = build_parser().main(list(argv), "clarus", standalone_mode=False)
        if isinstance(args, SimpleNamespace):
            return args
    except SystemExit as end:  # of a completion
        status = end.code if isinstance(end.code, int) else 1
    except NoArgsIsHelpError as error:
        for line in error.format_message().splitlines():
            streams.say(line)
        return _WRONG
    except ClickException as error:
        context = error.ctx if isinstance(error, UsageError) else None
        path = "clarus" if context is None else context.command_path
        streams.say(f"clarus: error: {' '.join(error.format_message().split())}")
        streams.say(f"{path} --help shows what there is")
        return _WRONG
    shown.seek(0)
    streams.write_to_stdout(streams.encode(shown.read(), sys.stdout))
    return status


def _level(verbose: int) -> int:
    levels = streams.LEVELS
    if verbose:
        return levels["info" if verbose == 1 else "debug"]
    chosen = os.environ.get("CLARUS_LOG", "").strip().lower() or "warning"
    if chosen not in levels:
        from clarus_async.errors import ConfigurationError

        raise ConfigurationError(f"CLARUS_LOG: must be one of {', '.join(levels)}")
    return levels[chosen]


def _end(error: BaseException, *, verbose: int) -> int:
    # Imported only now, so that help and usage errors come at once.
    from clarus_async.cli import output

    if isinstance(error, BrokenPipeError):
        return output.Exit.READER_GONE
    if not isinstance(error, Exception):
        return output.Exit.INTERRUPTED
    if verbose > 1:
        for line in "".join(traceback.format_exception(error)).splitlines():
            streams.say(line)
    text, status = output.explain(error)
    streams.say(f"clarus: error: {text}")
    return status
