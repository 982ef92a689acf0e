"""The documentation's web services, as processes of their own in front of a simulator."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time

import aiohttp
import uvicorn
from aiohttp import web

from clarus_async.simulator import Endpoint
from tests.support.readme import SERVICES

WORKERS = {"fastapi": 2, "aiohttp": 1}
_BARE = {name: value for name, value in os.environ.items() if not name.startswith("CLARUS_")}
_PATIENCE = 60.0


class Service:
    """One of them."""

    def __init__(self, name, port, process, said):
        self.name = name
        self.port = port
        self._process = process
        self._said = said
        self.asked = []
        """What it was asked to create, as tenant and name."""
        self.answers = {}
        """The status and body of each that was answered; the error of each that was not."""

    async def create(self, session, tenant, name, **headers):
        """Ask for a record, and keep what comes of it."""
        self.asked.append((tenant, name))
        headers = {"X-Tenant": tenant, **headers}
        try:
            async with session.post(f"http://127.0.0.1:{self.port}/shops/{name}", headers=headers) as response:
                body = await response.json() if response.content_type == "application/json" else {}
                answer = (response.status, body, response.headers)
        except (aiohttp.ClientError, OSError) as error:
            answer = (None, error, {})
        self.answers[tenant, name] = answer
        return answer

    def ids(self):
        """Those that were answered with 200, by tenant and name."""
        return {whose: body["id"] for whose, (status, body, _) in self.answers.items() if status == 200}

    async def leave_in_mid_call(self, tenant, name, arrived):
        """Ask for a record, and be gone once that has arrived where it is to be."""
        self.asked.append((tenant, name))
        _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(
            f"POST /shops/{name} HTTP/1.1\r\nHost: x\r\nX-Tenant: {tenant}\r\nContent-Length: 0\r\n\r\n".encode()
        )
        await until(arrived)
        writer.transport.abort()

    def stop(self):
        """Do what whoever rolls out a new version does."""
        self._process.send_signal(signal.SIGTERM)

    async def ended(self):
        """Its status, once it has ended; what it said must hold no traceback."""
        await until(lambda: self._process.poll() is not None)
        assert "Traceback" not in self.said(), self.said()
        return self._process.returncode

    def said(self):
        return self._said.read_text()


async def until(true):
    """Wait for something that must come about."""
    give_up = time.monotonic() + _PATIENCE
    while not true():
        assert time.monotonic() < give_up, true
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def serving(name, sim, folder):
    """Start one of the services, and end it with all that it started."""
    (folder / "service.py").write_text(SERVICES[name])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    commands = {
        "fastapi": ["uvicorn", "service:app", "--workers", str(WORKERS[name]), "--port", str(port)],
        "aiohttp": ["aiohttp.web", "-H", "127.0.0.1", "-P", str(port), "service:make_app"],
    }
    environment = _BARE | _environment(sim) | {"PYTHONPATH": str(folder)}
    said = folder / "said"
    with said.open("wb") as out:
        process = subprocess.Popen(  # noqa: ASYNC220  it takes a moment, once
            [sys.executable, "-m", *commands[name]],
            cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
    service = Service(name, port, process, said)
    try:
        if name == "fastapi":
            # The port is open before a worker is there.
            await until(lambda: service.said().count("Application startup complete") == WORKERS[name])
        else:
            await until(lambda: _listens(port))
        yield service
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.asynccontextmanager
async def within(name, sim, monkeypatch):
    """Serve one of the services in this process and loop, which takes no time to start."""
    for variable, value in _environment(sim).items():
        monkeypatch.setenv(variable, value)
    module = {"__name__": "service"}
    exec(compile(SERVICES[name], "README.md", "exec"), module)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        service = Service(name, listening.getsockname()[1], None, None)
        if name == "aiohttp":
            runner = web.AppRunner(module["make_app"]())
            await runner.setup()
            await web.SockSite(runner, listening).start()
            yield service
            await runner.cleanup()
        else:
            server = uvicorn.Server(uvicorn.Config(module["app"], log_level="warning", ws="none", lifespan="on"))
            running = asyncio.ensure_future(server.serve([listening]))
            await until(lambda: server.started)
            yield service
            server.should_exit = True
            await running


def _environment(sim):
    return {
        "CLARUS_SUBDOMAIN": "acme",
        "CLARUS_BASE_URL": sim.url,
        "CLARUS_CLIENT_ID": sim.client_id,
        "CLARUS_CLIENT_SECRET": sim.client_secret,
    }


def _listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def creates(sim):
    """How many creates have arrived."""
    return sim.count(Endpoint.CREATE)


def ledger(sim, *tenants):
    """The id of each record that is there, by tenant and name; no name is there twice."""
    records = [((tenant, record.attributes["name"]), record.id) for tenant in tenants for record in sim.created(tenant)]
    assert len(dict(records)) == len(records)
    return dict(records)
