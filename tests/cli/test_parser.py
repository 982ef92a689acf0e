"""What the command line understands, and how it says so."""

from __future__ import annotations

import re
import resource
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from clarus_async.cli import reference
from clarus_async.cli.commands import main, parse
from clarus_async.cli.parser import build_parser

GROUP = build_parser()
COMMANDS = list(GROUP.commands.values())
EXAMPLES = [example for command in COMMANDS for example in command.examples]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
class TestHelp:
    def test_it_has_an_example(self, command, capfd):
        assert main([command.name, "-h"]) == 0

        shown = capfd.readouterr().out
        assert f"\nExamples:\n  {command.examples[0]}\n" in shown
        assert all(f"clarus {command.name} " in example or "completion" in example for example in command.examples)

    def test_the_list_of_commands_has_its_first_sentence_whole(self, command, capfd):
        main(["--help"])

        line = next(line for line in capfd.readouterr().out.splitlines() if line.startswith(f"  {command.name} "))
        assert line.endswith(".")
        assert not line.endswith("...")

    def test_every_option_says_what_it_is_for(self, command):
        options = [param for param in command.params if isinstance(param, click.Option)]

        assert all(option.help for option in options)
        assert len({name for option in options for name in option.opts}) == sum(len(option.opts) for option in options)


@pytest.mark.parametrize("line", EXAMPLES)
def test_the_examples_are_understood(line):
    words = re.sub(r'^eval "\$\((.*)\)"|[<>|] .*', r"\1", line)

    assert parse(shlex.split(words, comments=True)[1:]) != 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("provison f.csv", "No such command 'provison'. Did you mean 'provision'?"),
        ("provision f.csv --journl run.db", "No such option '--journl'. Did you mean '--journal'?"),
        ("list --providr xero", "No such option '--providr'. Did you mean '--provider'?"),
        ("provision f.csv --existing addopt", "Invalid value for '--existing': 'addopt' is not one of 'adopt'"),
        ("provision", "Missing argument 'FILE'"),
        (
            "provision f.csv --concurrency many",
            "Invalid value for '--concurrency': must be an integer from 1 to 10,000",
        ),
        ("ping canary", "1 more argument than ping takes"),
        ("ping --client-secret=canary", "No such option '--client-secret'. Did you mean '--client-secret-file'"),
    ],
)
def test_a_mistake_is_said_with_the_next_step_and_repeats_no_value(line, said, capfd):
    assert main(shlex.split(line)) == 2

    err = capfd.readouterr().err
    assert err.startswith(f"clarus: error: {said}")
    assert re.fullmatch(r"clarus( \w+)? --help shows what there is", err.splitlines()[-1])
    assert "canary" not in err


def test_the_reference_is_what_the_commands_say():
    """It is written by ``python -m clarus_async.cli.reference > clarus_async/cli/REFERENCE.md``."""
    assert (Path(reference.__file__).parent / "REFERENCE.md").read_text() == reference.page()


def test_the_version_costs_little():
    """150 ms of CPU are wanted of it; here, where many things run side by side, twice as much is allowed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "clarus_async", "--version"], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)

    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.3


def test_without_its_extra_it_says_what_to_install(monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "click", None)
    monkeypatch.delitem(sys.modules, "clarus_async.cli.parser")

    assert main(["ping"]) == 2
    assert "pip install 'clarus-async[cli]'" in capfd.readouterr().err


SHELLS = {
    "bash": 'eval "$(clarus completion bash)"; COMP_WORDS=(clarus provision --exis); COMP_CWORD=2; '
    "_clarus_completion clarus --exis provision; printf '%s\\n' \"${COMPREPLY[@]}\"",
    "zsh": 'autoload -U compinit && compinit -u; eval "$(clarus completion zsh)"; '
    '_CLARUS_COMPLETE=zsh_complete COMP_WORDS="clarus provision --exis" COMP_CWORD=2 clarus; type _clarus_completion',
    "fish": "clarus completion fish | source; complete -C 'clarus provision --exis'",
}


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes_options(shell, tmp_path):
    if (program := shutil.which(shell)) is None:
        pytest.skip(f"{shell} is not installed")
    command = tmp_path / "clarus"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m clarus_async "$@"\n')
    command.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [program, "-c", SHELLS[shell]], env=environment, capture_output=True, text=True, timeout=60, check=False
    )

    assert "--existing" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("clarus pro", "provision"),
        ("clarus provision f.csv --existing a", "adopt"),
        ("clarus list --resource ext", "external_entities"),
        ("clarus list --resource external_entities --enti", "--entity-type"),
    ],
)
def test_commands_options_and_values_are_completed(words, completed, monkeypatch, capfd):
    monkeypatch.setenv("_CLARUS_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    main([])

    assert f"plain,{completed}" in capfd.readouterr().out.splitlines()
