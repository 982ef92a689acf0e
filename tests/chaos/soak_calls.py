"""The calls of ``tests.chaos.soak``, and what each of them was told, written to a file as it comes."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, TextIO

from clarus_async import (
    Applied,
    ClarusClient,
    ClarusError,
    IntegrationChanges,
    IntegrationFilter,
    NewIntegration,
    OutcomeUnknownError,
)

# The ids of the latest creates, of which some are changed and deleted.
_KEPT: Final = 64
_LOOKS: Final = 40
_RUNS: Final = 40
_BATCH: Final = 25


class Calls:
    """A mix of calls for some tenants, and what they were told."""

    def __init__(self, views: dict[str, ClarusClient], told: TextIO, folder: Path, seed: int) -> None:
        self._views = views
        self._told = told
        self._folder = folder
        self._dice = random.Random(seed)
        self._numbers = itertools.count(1)
        self._mine: dict[str, deque[int]] = {tenant: deque(maxlen=_KEPT) for tenant in views}
        self.counts: Counter[str] = Counter()
        self.odd: list[str] = []
        """Errors of which a caller could make nothing: what is not one of ours, or doubtful and not said so."""
        self._mix: list[tuple[int, Callable[[str, ClarusClient], Awaitable[None]]]] = [
            (40, self._create),
            (15, self._update),
            (10, self._delete),
            (6, self._list),
            (6, self._find),
            (6, self._synchronize),
            (6, self._ping),
            (1, self._provision),
        ]

    async def work(self, until: float) -> None:
        """Make one call after the other."""
        weights, calls = zip(*self._mix, strict=True)
        while asyncio.get_running_loop().time() < until:
            tenant = self._dice.choice(list(self._views))
            [call] = self._dice.choices(calls, weights)
            name = call.__name__.strip("_")
            self.counts[name] += 1
            try:
                await call(tenant, self._views[tenant])
            except ClarusError as error:
                self.counts[f"{name}: {type(error).__name__}"] += 1
            except Exception as error:  # noqa: BLE001  whatever it is, it is not what was promised
                self._note(f"{name}: {error!r}")

    def _note(self, text: str) -> None:
        if len(self.odd) < 10:
            self.odd.append(text)

    def _tell(self, *what: object) -> None:
        self._told.write(json.dumps(what) + "\n")

    def _new(self) -> NewIntegration:
        number = next(self._numbers)
        reference = None if number % 4 == 3 else f"ref-{number}"
        return NewIntegration(name=f"Shop {number}", integration_type="shopify", external_system_reference1=reference)

    async def _create(self, tenant: str, client: ClarusClient) -> None:
        new = self._new()
        on_unknown = self._dice.choice(["reconcile", "reconcile", "raise"])
        try:
            created = await client.integrations.create(new, on_unknown=on_unknown)
        except OutcomeUnknownError as error:
            await self._resolve(tenant, client, new.name, error)
            raise
        except ClarusError as error:
            if error.applied is not Applied.NO:
                self._note(f"create: {error!r}")
            self._tell("create", tenant, new.name, "no")
            raise
        self._tell("create", tenant, new.name, created.id)
        self._mine[tenant].append(created.id)

    async def _resolve(self, tenant: str, client: ClarusClient, name: str, error: OutcomeUnknownError) -> None:
        for _ in range(_LOOKS):
            await asyncio.sleep(0.5)
            try:
                found = await client.integrations.resolve(error)
            except ClarusError:
                continue
            self._tell("create", tenant, name, "no" if found is None else found.id)
            self.counts["resolved"] += 1
            return
        self._tell("create", tenant, name, "unresolved")

    async def _update(self, tenant: str, client: ClarusClient) -> None:
        if not self._mine[tenant]:
            return
        # Taken out: nobody else changes it, so that what it was told last is what is there.
        integration_id = self._mine[tenant].popleft()
        text = f"text-{next(self._numbers)}"
        try:
            await client.integrations.update(integration_id, IntegrationChanges(string1=text))
        except ClarusError as error:
            self._tell("update", tenant, integration_id, text, error.applied.value)
            raise
        self._tell("update", tenant, integration_id, text, "done")

    async def _delete(self, tenant: str, client: ClarusClient) -> None:
        if not self._mine[tenant]:
            return
        integration_id = self._mine[tenant].popleft()
        try:
            await client.integrations.delete(integration_id)
        except ClarusError as error:
            self._tell("delete", tenant, integration_id, error.applied.value)
            raise
        self._tell("delete", tenant, integration_id, "done")

    async def _list(self, tenant: str, client: ClarusClient) -> None:
        pages = 0
        async for _ in client.integrations.list(IntegrationFilter(is_active=True), page_size=50).pages():
            pages += 1
            if pages == 3:
                return

    async def _find(self, tenant: str, client: ClarusClient) -> None:
        await client.integrations.find(name=f"Shop {self._dice.randint(1, 1000)}")

    async def _synchronize(self, tenant: str, client: ClarusClient) -> None:
        if self._mine[tenant]:
            await client.integrations.synchronize(self._mine[tenant][-1], repeatable=True)

    async def _ping(self, tenant: str, client: ClarusClient) -> None:
        await client.ping()

    async def _provision(self, tenant: str, client: ClarusClient) -> None:
        """Run to the end, again where something ended it that ends a run by contract."""
        news = [self._new() for _ in range(_BATCH)]
        journal = self._folder / f"{next(self._numbers)}.db"
        last: dict[str, Any] = {}
        for _ in range(_RUNS):
            try:
                async with client.integrations.provision(news, concurrency=8, journal=journal) as run:
                    async for outcome in run:
                        last[news[outcome.index].name] = outcome.id if outcome.status.ok else outcome.status.value
            except ClarusError as error:
                self.counts[f"provision: {type(error).__name__}"] += 1
                await asyncio.sleep(1.0)
            else:
                break
        journal.unlink()
        for new in news:
            became = last.get(new.name, "unresolved")
            self._tell("create", tenant, new.name, "no" if became == "failed" else became)
        self.counts["provisioned"] += len(news)


class Verdict:
    """What the ledger says of what callers were told.

    Args:
        ledger: tenant, name, id, whether it was deleted, and its first string, of every record there ever was.
    """

    def __init__(self, ledger: list[list[Any]]) -> None:
        self.broken: Counter[str] = Counter()
        """How often which promise was broken."""
        self.judged: Counter[str] = Counter()
        """How much of what was judged."""
        self.words: list[str] = []
        """The first of what was broken."""
        self._by_name: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
        self._by_id: dict[int, tuple[bool, str | None]] = {}
        for tenant, name, number, deleted, text in ledger:
            self._by_name[tenant, name].add(number)
            self._by_id[number] = (deleted, text)

    def judge(self, told: Path) -> None:
        """Compare everything that was told."""
        asked = set()
        for line in told.read_text(encoding="utf-8").splitlines():
            kind, tenant, *what = json.loads(line)
            self.judged[kind] += 1
            if kind == "create":
                asked.add((tenant, what[0]))
                self._create(self._by_name.get((tenant, what[0]), set()), *what)
            else:
                self._change(kind, *what)
        for key in self._by_name.keys() - asked:
            self._note("nobody's", key)

    def _note(self, promise: str, *what: object) -> None:
        self.broken[promise] += 1
        if len(self.words) < 10:
            self.words.append(f"{promise}: {what}")

    def _create(self, there: set[int], name: str, became: int | str) -> None:
        if len(there) > 1:
            self._note("duplicate", name, became, there)
        if isinstance(became, int):
            if became not in there:
                self._note("lost", name, became, there)
        elif became != "no":
            self._note("unresolved", name, became, there)
        elif there:
            self._note("there though it was said not to be", name, became, there)

    def _change(self, kind: str, number: int, *what: str) -> None:
        deleted, text = self._by_id[number]
        done = deleted if kind == "delete" else text == what[0]
        if (what[-1] == "done" and not done) or (what[-1] == "no" and done):
            self._note(kind, number, *what, deleted, text)
