"""A headless Chromium over its DevTools protocol: what a page comes to at a width, light or dark."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")


class Page:
    """A tab."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._number = 0
        self.heard: list[tuple[str, Any]] = []
        """What the browser told of: requests, and what its console says."""

    async def call(self, method: str, **params: Any) -> Any:
        """Call a method of the protocol."""
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": params})
        while True:
            message = await self._socket.receive_json()
            if message.get("id") == self._number:
                return message["result"]
            self.heard.append((message["method"], message["params"]))

    async def show(self, path: Path, width: int, scheme: str) -> None:
        """Show a page as a screen of a width does."""
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500
        )
        await self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        await self.call("Page.navigate", url=path.as_uri())
        while await self.run("document.readyState") != "complete":  # noqa: ASYNC110  it is another process's
            await asyncio.sleep(0.05)

    async def run(self, script: str) -> Any:
        """Run a script in the page, whatever its policy is, and return its value."""
        return (await self.call("Runtime.evaluate", expression=script, returnByValue=True))["result"].get("value")


@contextlib.asynccontextmanager
async def browser() -> AsyncIterator[Page]:
    """Run a browser with one tab."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        process = subprocess.Popen(  # noqa: ASYNC220  it takes a moment
            [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0",
             f"--user-data-dir={folder}", "about:blank"],
            stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        try:
            told = (re.search(r"ws://([^/]+)/", line) for line in iter(process.stderr.readline, ""))
            url = (await asyncio.to_thread(lambda: next(filter(None, told))))[1]
            async with aiohttp.ClientSession() as session:
                async with session.put(f"http://{url}/json/new?about:blank") as answer:
                    tab = await answer.json()
                async with session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                    page = Page(socket)
                    for domain in ("Network", "Page", "Log", "Runtime"):
                        await page.call(f"{domain}.enable")
                    yield page
        finally:
            process.terminate()
            await asyncio.to_thread(process.wait)
            process.stderr.close()
