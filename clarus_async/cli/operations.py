"""``clarus list``, ``create``, ``update``, ``delete``, ``sync`` and ``ping``."""

from __future__ import annotations

import asyncio
import difflib
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Final

import attrs

from clarus_async.cli.attribute_options import given_attributes, typed
from clarus_async.cli.connection import connect, require_operation, resource_of
from clarus_async.cli.formats import Record, format_of
from clarus_async.cli.output import Exit, Results
from clarus_async.cli.streams import open_stdin, read_up_to, say
from clarus_async.client import ClarusClient
from clarus_async.errors import ConfigurationError, InputProblem, InvalidInputError
from clarus_async.provisioning.files.attribute_types import attribute_types
from clarus_async.provisioning.files.json_records import parse
from clarus_async.resources.spec import AnySpec

_LONGEST_JSON: Final = 2**20  # bytes
_ONE_OR_MANY: Final = frozenset({"update", "delete", "sync"})
_WRITES: Final = frozenset({"create", "update", "delete", "sync"})


def main(args: SimpleNamespace) -> int:
    """Run a command that makes a call and writes its results."""
    if args.command in _ONE_OR_MANY and args.from_file is not None:
        from clarus_async.cli.bulk import main as do_to_many

        return do_to_many(args)
    if args.command in _ONE_OR_MANY and args.id is None:
        raise ConfigurationError(f"{args.command}: takes the ID of a record, or --from FILE")
    # What is given is checked before anything is opened.
    action = _ACTIONS[args.command](args)
    opening = connect(args)

    async def run() -> int:
        results = Results(format_of(args.output, sys.stdout, single=args.command != "list"))
        try:
            async with opening as client, results:
                await action(client, results)
        finally:
            if results.unwritten and args.command in _WRITES:
                say(f"clarus: it was done all the same: {results.unwritten.decode().rstrip()}")
        return Exit.OK

    return asyncio.run(run())


_Action = Callable[[ClarusClient, Results], Awaitable[None]]


def _list(args: SimpleNamespace) -> _Action:
    spec: AnySpec = args.resource
    wanted = spec.listing.filter(**given_attributes(args, spec.listing.filter))

    async def action(client: ClarusClient, results: Results) -> None:
        async for row in resource_of(client, args).list(wanted, page_size=args.page_size):
            if not await results.write(_shown(row, spec)):
                return

    return action


def _create(args: SimpleNamespace) -> _Action:
    spec: AnySpec = args.resource
    given = _json_object(args.json)
    by_option = given_attributes(args, spec.new)
    _refuse_twice(given, by_option)
    new = spec.new.from_mapping(given | by_option)

    async def action(client: ClarusClient, results: Results) -> None:
        await results.write(_shown(await resource_of(client, args).create(new), spec))

    return action


def _update(args: SimpleNamespace) -> _Action:
    spec: AnySpec = args.resource
    given = _json_object(args.json)
    names = [name for name, _ in args.set]
    _refuse_twice(given, names, args.clear)
    changed = given | typed(spec.changes, dict(args.set)) | dict.fromkeys(args.clear)
    changeable = tuple(attribute_types(spec.changes))
    if unknown := [name for name in changed if name not in changeable]:
        problems = [InputProblem(name, "can't be changed" + _nearest(name, changeable)) for name in unknown]
        raise InvalidInputError.of("update", problems)
    if not changed:
        raise ConfigurationError("update: nothing is to be changed: give --set, --clear or --json")
    changes = spec.changes(**changed)

    async def action(client: ClarusClient, results: Results) -> None:
        await results.write(_shown(await resource_of(client, args).update(args.id, changes), spec))

    return action


def _do_to_one(args: SimpleNamespace) -> _Action:
    operation, said = {"delete": ("delete", "deleted"), "sync": ("synchronize", "synchronizing")}[args.command]
    require_operation(args, operation)

    async def action(client: ClarusClient, results: Results) -> None:
        await getattr(resource_of(client, args), operation)(args.id)
        await results.write({"id": args.id, said: True})

    return action


def _ping(_: SimpleNamespace) -> _Action:
    async def action(client: ClarusClient, results: Results) -> None:
        started_at = time.monotonic()
        await client.ping()
        seconds = round(time.monotonic() - started_at, 3)
        await results.write({"subdomain": client.subdomain, "ok": True, "seconds": seconds})

    return action


_ACTIONS: Final[Mapping[str, Callable[[SimpleNamespace], _Action]]] = {
    "list": _list,
    "create": _create,
    "update": _update,
    "delete": _do_to_one,
    "sync": _do_to_one,
    "ping": _ping,
}


def _shown(record: Any, spec: AnySpec) -> Record:  # noqa: ANN401  a record or a row of any resource
    # What may hold secrets, whoever put them there, is left out.
    names = (field.name for field in attrs.fields(type(record)))
    return {name: getattr(record, name) for name in names if name not in {*spec.secret, "extra"}}


def _json_object(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        content = read_up_to(open_stdin(), _LONGEST_JSON + 1) if text == "-" else text.encode(errors="surrogateescape")
    except OSError as error:
        raise InvalidInputError(f"--json: {error.strerror}") from None
    if len(content) > _LONGEST_JSON:
        raise InvalidInputError(f"--json: is longer than {_LONGEST_JSON:,} bytes")
    given, problems = parse(content)
    if isinstance(given, dict):
        if problems:
            raise InvalidInputError.of("--json", list(problems))
        return given
    raise InvalidInputError(f"--json: {problems[0].reason if problems else 'must be a JSON object'}")


def _refuse_twice(*groups: Mapping[str, Any] | Sequence[str]) -> None:
    names = [name for group in groups for name in group]
    problems = [InputProblem(name, "is given twice") for name in dict.fromkeys(names) if names.count(name) > 1]
    if problems:
        raise InvalidInputError.of("attributes", problems)


def _nearest(name: str, changeable: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, changeable, n=1)
    return f"; did you mean {near[0]}?" if near else f": only {', '.join(changeable)} can"
