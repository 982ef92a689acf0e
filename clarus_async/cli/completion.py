"""``clarus completion``: what makes a shell complete the command line."""

from __future__ import annotations

from types import SimpleNamespace

from click.shell_completion import get_completion_class

from clarus_async.cli.output import Exit
from clarus_async.cli.parser import build_parser
from clarus_async.cli.streams import write_results
from clarus_async.errors import ConfigurationError


def main(args: SimpleNamespace) -> int:
    """Run ``clarus completion``."""
    made = get_completion_class(args.shell)
    if made is None:
        raise ConfigurationError(f"completion: this release of click can't complete for {args.shell}")
    write_results(made(build_parser(), {}, "clarus", "_CLARUS_COMPLETE").source().encode())
    return Exit.OK
