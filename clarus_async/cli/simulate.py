"""The simulator, as the command line runs it."""

from __future__ import annotations

import asyncio
import signal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Final

import orjson

from clarus_async.cli.output import Exit
from clarus_async.cli.streams import say, write_results
from clarus_async.errors import ConfigurationError

if TYPE_CHECKING:
    from clarus_async.simulator import Fault, Quota, Simulator

TRIAL_TENANT: Final = "acme"

# A server that runs for days must not remember all of them.
_KEPT_REQUESTS: Final = 10_000


def trial_simulator() -> Simulator:
    """Build what ``provision --simulate`` runs against: with a quota, and faults that are met every day."""
    from clarus_async.simulator import Endpoint, Fault, FaultKind, Quota, Simulator

    try:
        return Simulator(
            tenants=(TRIAL_TENANT,),
            quota=Quota(limit=100, window=1.0, headers="retry-after"),
            # None is a 429: those that a quota does not explain would be taken for a lower one.
            faults=[
                Fault(FaultKind.RESET_BEFORE, endpoint=Endpoint.CREATE, probability=0.015),
                Fault(FaultKind.RESET_AFTER, endpoint=Endpoint.CREATE, probability=0.015),
            ],
            keep_requests=_KEPT_REQUESTS,
            # What the records of a file belong to is in the real tenant, and not in this one.
            check_ids=False,
        )
    except ImportError as error:
        raise ConfigurationError(str(error)) from None


def main(args: SimpleNamespace) -> int:
    """Run ``clarus simulator`` until it is told to end."""
    from clarus_async.simulator import Simulator

    tenants = tuple(args.tenant or [TRIAL_TENANT])
    try:
        simulator = Simulator(
            tenants=tenants,
            quota=_quota(args),
            faults=_faults(args.faults),
            seed=args.seed,
            port=args.port,
            keep_requests=_KEPT_REQUESTS,
        )
    except (ImportError, ValueError) as error:
        raise ConfigurationError(str(error)) from None
    return asyncio.run(_serve(simulator, tenants))


def _quota(args: SimpleNamespace) -> Quota | None:
    from clarus_async.simulator import Quota

    names = ("kind", "headers", "burst", "delay", "block", "also", "status")
    given = {name: value for name in names if (value := getattr(args, f"quota_{name}")) is not None}
    if args.quota is None:
        if given:
            raise ConfigurationError(f"simulator: --quota-{next(iter(given))} needs --quota")
        return None
    limit, window = args.quota
    if "also" in given:
        also_limit, also_window = given["also"]
        given["also"] = Quota(limit=also_limit, window=also_window, kind=given.get("kind", "sliding"))
    return Quota(limit=limit, window=window, **{"headers": "retry-after"} | given)


def _faults(share: float) -> list[Fault]:
    """Spread a share of the requests over what befalls clients most, doubtful outcomes among it."""
    from clarus_async.simulator import Fault, FaultKind

    kinds = {
        FaultKind.RATE_LIMITED: 1.0,
        FaultKind.UNAVAILABLE: 1.0,
        FaultKind.UNAUTHORIZED: None,
        FaultKind.HTML_502: None,
        FaultKind.ERROR_BEFORE: None,
        FaultKind.ERROR_AFTER: None,
        FaultKind.RESET_BEFORE: None,
        FaultKind.RESET_AFTER: None,
    }
    return [
        Fault(kind, probability=share / len(kinds), retry_after=retry_after)
        for kind, retry_after in kinds.items()
        if share
    ]


async def _serve(simulator: Simulator, tenants: tuple[str, ...]) -> int:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    try:
        await simulator.start()
    except OSError as error:
        raise ConfigurationError(f"simulator: can't listen: {error.strerror}") from None
    try:
        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signum, ended.set)
        about = {
            "url": simulator.url,
            "client_id": simulator.client_id,
            "client_secret": simulator.client_secret,
            "tenants": tenants,
        }
        write_results(orjson.dumps(about) + b"\n")
        say(f"export CLARUS_BASE_URL={simulator.url} CLARUS_SUBDOMAIN={tenants[0]}")
        say(f"export CLARUS_CLIENT_ID={simulator.client_id} CLARUS_CLIENT_SECRET={simulator.client_secret}")
        await ended.wait()
    finally:
        await simulator.stop()
    return Exit.OK
