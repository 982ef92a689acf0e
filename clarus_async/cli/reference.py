"""The help of every command on one page, in Markdown: ``python -m clarus_async.cli.reference > REFERENCE.md``."""

from __future__ import annotations

import sys
from typing import Final

import click

from clarus_async.cli.parser import build_parser

_WIDTH: Final = 100


def page() -> str:
    """Return the page."""
    group = build_parser()
    top = click.Context(group, info_name="clarus", terminal_width=_WIDTH, **group.context_settings)
    parts = ["# Reference of the command line", _block(group, top)]
    for name in group.list_commands(top):
        command = group.commands[name]
        below = click.Context(command, top, name, terminal_width=_WIDTH, **command.context_settings)
        parts += [f"# `clarus {name}`", _block(command, below)]
    return "\n\n".join(parts) + "\n"


def _block(command: click.Command, context: click.Context) -> str:
    return f"```text\n{command.get_help(context)}\n```"


if __name__ == "__main__":
    sys.stdout.write(page())
