"""A page in headless Chromium, driven by JavaScript over the DevTools protocol."""

from __future__ import annotations

import base64
import shutil
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import anyio

CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--remote-debugging-port=0",
    "--window-size=1280,1800",
)  # fmt: skip


class Page:
    """One tab. Errors that the page did not catch are kept in `errors`."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.errors: list[str] = []
        self._socket = socket
        self._number = 0

    async def call(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        while True:
            answer = await self._socket.receive_json(timeout=10)
            if answer.get("method") == "Runtime.exceptionThrown":
                self.errors.append(str(answer["params"]["exceptionDetails"]))
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    async def run(self, script: str) -> Any:
        """Return what the expression is worth, awaited if it is a promise; a throw fails the test."""
        done = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    async def wait(self, script: str) -> None:
        """Wait until the expression is true."""
        with anyio.fail_after(5):
            while not await self.run(f"Boolean({script})"):
                await anyio.sleep(0.02)

    async def picture(self, file: Path) -> None:
        shot = await self.call("Page.captureScreenshot", captureBeyondViewport=True)
        await anyio.Path(file).write_bytes(base64.b64decode(shot["data"]))


@asynccontextmanager
async def page(url: str, profile: Path) -> AsyncGenerator[Page]:
    """Open the URL in a Chromium of its own, whose profile is an empty folder."""
    assert CHROMIUM is not None
    quiet = subprocess.DEVNULL
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    async with await anyio.open_process(command, stdout=quiet, stderr=quiet) as process:
        try:
            port_file = anyio.Path(profile / "DevToolsActivePort")
            with anyio.fail_after(20):
                while not await port_file.exists() or "\n" not in await port_file.read_text():
                    await anyio.sleep(0.02)
            port = (await port_file.read_text()).split()[0]
            async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
                async with session.put("/json/new?about:blank") as answer:
                    target = await answer.json()
                async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                    made = Page(socket)
                    await made.call("Runtime.enable")
                    await made.call("Page.navigate", url=url)
                    yield made
        finally:
            process.terminate()
