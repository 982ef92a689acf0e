"""``clarus list``, ``create``, ``update``, ``delete``, ``sync`` and ``ping``."""

from __future__ import annotations

import argparse
import asyncio
import difflib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import attrs
import orjson

from clarus_async.cli.connection import connect
from clarus_async.cli.output import Exit, Results
from clarus_async.cli.parser import ATTRIBUTE_OPTIONS
from clarus_async.cli.streams import open_stdin, say
from clarus_async.client import ClarusClient
from clarus_async.errors import InputProblem, InvalidInputError
from clarus_async.provisioning.files.json_records import parse
from clarus_async.provisioning.files.reader import from_text
from clarus_async.resources.integrations import (
    Integration,
    IntegrationChanges,
    IntegrationFilter,
    IntegrationRow,
    NewIntegration,
)

_LONGEST_JSON: Final = 2**20  # bytes
_CHANGEABLE: Final = tuple(field.name for field in attrs.fields(IntegrationChanges))
_WRITES: Final = frozenset({"create", "update", "delete", "sync"})
# What may hold secrets, whoever put them there.
_NOT_SHOWN: Final = frozenset({"configuration", "extra"})


def main(args: argparse.Namespace) -> int:
    """Run a command that takes a client and writes results.

    Args:
        args: the command line.

    Raises:
        ClarusError: what keeps it from being done.
        OSError: the results can't be written.
    """
    # What is given is checked before anything is opened.
    action = _ACTIONS[args.command](args)
    client = connect(args)

    async def run() -> int:
        results = Results()
        try:
            async with client, results:
                await action(client, results)
        finally:
            if results.unwritten and args.command in _WRITES:
                say(f"clarus: it was done all the same: {results.unwritten.decode().rstrip()}")
        return Exit.OK

    return asyncio.run(run())


_Action = Callable[[ClarusClient, Results], Awaitable[None]]


def _list(args: argparse.Namespace) -> _Action:
    wanted = IntegrationFilter(
        name=_one_or_more(args.name),
        name_contains=args.name_contains,
        provider=_one_or_more(args.provider),
        integration_type=_one_or_more(args.integration_type),
        status=_one_or_more(args.status),
        is_active=args.is_active,
    )

    async def action(client: ClarusClient, results: Results) -> None:
        async for row in client.integrations.list(wanted, page_size=args.page_size):
            if not await results.write(_shown(row)):
                return

    return action


def _create(args: argparse.Namespace) -> _Action:
    given = _json_object(args.json)
    options = {attribute: getattr(args, attribute) for _, attribute, _ in ATTRIBUTE_OPTIONS}
    typed = _typed({name: text for name, text in options.items() if text is not None})
    if args.is_active is not None:
        typed["is_active"] = args.is_active
    _refuse_twice(given, typed)
    new = NewIntegration.from_mapping(given | typed)

    async def action(client: ClarusClient, results: Results) -> None:
        await results.write(_shown(await client.integrations.create(new)))

    return action


def _update(args: argparse.Namespace) -> _Action:
    given = _json_object(args.json)
    names = [name for name, _ in args.set]
    _refuse_twice(given, names, args.clear)
    typed = _typed(dict(args.set))
    changed = given | typed | dict.fromkeys(args.clear)
    unknown = [InputProblem(name, "can't be changed" + _nearest(name)) for name in changed if name not in _CHANGEABLE]
    if unknown:
        raise InvalidInputError.of("update", unknown)
    changes = IntegrationChanges(**changed)

    async def action(client: ClarusClient, results: Results) -> None:
        await results.write(_shown(await client.integrations.update(args.id, changes)))

    return action


def _delete(args: argparse.Namespace) -> _Action:
    async def action(client: ClarusClient, results: Results) -> None:
        await client.integrations.delete(args.id)
        await results.write(orjson.dumps({"id": args.id, "deleted": True}))

    return action


def _sync(args: argparse.Namespace) -> _Action:
    async def action(client: ClarusClient, results: Results) -> None:
        await client.integrations.synchronize(args.id)
        await results.write(orjson.dumps({"id": args.id, "synchronizing": True}))

    return action


def _ping(_: argparse.Namespace) -> _Action:
    async def action(client: ClarusClient, results: Results) -> None:
        started_at = time.monotonic()
        await client.ping()
        seconds = round(time.monotonic() - started_at, 3)
        await results.write(orjson.dumps({"subdomain": client.subdomain, "ok": True, "seconds": seconds}))

    return action


_ACTIONS: Final[Mapping[str, Callable[[argparse.Namespace], _Action]]] = {
    "list": _list,
    "create": _create,
    "update": _update,
    "delete": _delete,
    "sync": _sync,
    "ping": _ping,
}


def _shown(record: Integration | IntegrationRow) -> bytes:
    return orjson.dumps({
        field.name: getattr(record, field.name)
        for field in attrs.fields(type(record))
        if field.name not in _NOT_SHOWN
    })  # fmt: skip


def _one_or_more(values: Sequence[str] | None) -> str | Sequence[str] | None:
    return values[0] if values is not None and len(values) == 1 else values


def _json_object(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        content = open_stdin().read(_LONGEST_JSON + 1) if text == "-" else text.encode("utf-8", "surrogateescape")
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


def _typed(texts: Mapping[str, str]) -> dict[str, Any]:
    values = {name: from_text(name, text) for name, text in texts.items()}
    problems = [value for value in values.values() if isinstance(value, InputProblem)]
    if problems:
        raise InvalidInputError.of("attributes", problems)
    return values


def _refuse_twice(*groups: Mapping[str, Any] | Sequence[str]) -> None:
    names = [name for group in groups for name in group]
    problems = [InputProblem(name, "is given twice") for name in dict.fromkeys(names) if names.count(name) > 1]
    if problems:
        raise InvalidInputError.of("attributes", problems)


def _nearest(name: str) -> str:
    near = difflib.get_close_matches(name, _CHANGEABLE, n=1)
    return f"; did you mean {near[0]}?" if near else f": only {', '.join(_CHANGEABLE)} can"
