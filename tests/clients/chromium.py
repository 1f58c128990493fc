"""A tab of a real Chromium, driven by its own protocol: keys are pressed, nothing is clicked by script."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

from tests.clients.test_browser import FLAGS
from tests.support.waiting import guard, until

_KEYS = {"Tab": ("Tab", 9, ""), "Enter": ("Enter", 13, "\r")}


class Tab:
    """One tab. `asked`: every URL that it asked for. `complaints`: what its console says."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._last = 0
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.loads = 0
        self.asked: list[str] = []
        self.complaints: list[str] = []

    async def listen(self) -> None:
        """Takes what the browser says, until it ends."""
        async for message in self._socket:
            said = message.json()
            if "id" in said:
                self._answers.pop(said["id"]).set_result(said)
                continue
            match said["method"]:
                case "Page.loadEventFired":
                    self.loads += 1
                case "Network.requestWillBeSent":
                    self.asked.append(said["params"]["request"]["url"])
                case "Log.entryAdded":
                    self.complaints.append(said["params"]["entry"]["text"])

    async def call(self, method: str, **parameters: object) -> dict[str, Any]:
        self._last += 1
        answer = self._answers[self._last] = asyncio.get_running_loop().create_future()
        message = {"id": self._last, "method": method, "params": parameters}
        await self._socket.send_json(message)
        async with guard():
            said = await answer
        assert "error" not in said, said
        found: dict[str, Any] = said["result"]
        return found

    async def value(self, expression: str) -> Any:
        """What an expression of JavaScript comes to in the page, promises awaited."""
        said = await self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in said, said
        return said["result"].get("value")

    async def text(self) -> str:
        return str(await self.value("document.body.innerText"))

    async def open(self, url: str) -> None:
        """The page at this address, as if it were typed."""
        before = self.loads
        await self.call("Page.navigate", url=url)
        await until(lambda: self.loads > before)

    async def press(self, name: str) -> None:
        key, code, text = _KEYS[name]
        for kind in ("keyDown", "keyUp"):
            await self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=code,
                text=text if kind == "keyDown" else "",
            )

    async def focus(self, words: str) -> int:
        """Goes by the Tab key to what has this text or id; how many times it was pressed."""
        seen = "document.activeElement.id || document.activeElement.innerText"
        for pressed in range(1, 200):
            await self.press("Tab")
            if await self.value(seen) == words:
                return pressed
        raise AssertionError(f"no Tab leads to {words!r}")

    async def follow(self, words: str) -> None:
        """Goes to a link or button by the Tab key, presses Enter and waits for the page."""
        await self.focus(words)
        before = self.loads
        await self.press("Enter")
        await until(lambda: self.loads > before)

    async def picture(self, name: str) -> None:
        """Writes the page as it looks, where SCREENSHOTS names a directory."""
        directory = os.environ.get("SCREENSHOTS")
        if directory:
            shot = await self.call("Page.captureScreenshot", captureBeyondViewport=True)
            Path(directory).mkdir(parents=True, exist_ok=True)
            (Path(directory) / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))


@contextlib.asynccontextmanager
async def tab(program: Path, directory: Path) -> AsyncIterator[Tab]:
    """A browser of its own in this directory, with one tab."""
    process = await asyncio.create_subprocess_exec(
        program,
        *FLAGS,
        f"--user-data-dir={directory}",
        "about:blank",
        env={"PATH": os.environ["PATH"], "HOME": str(directory), "TMPDIR": str(program.parent)},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        port_file = directory / "DevToolsActivePort"
        await until(lambda: port_file.exists() and "\n" in port_file.read_text())
        port = port_file.read_text().split()[0]
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as response:
                [page] = [one for one in await response.json() if one["type"] == "page"]
            async with session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                made = Tab(socket)
                listening = asyncio.create_task(made.listen())
                for domain in ("Page", "Network", "Log", "Runtime"):
                    await made.call(f"{domain}.enable")
                yield made
                listening.cancel()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
