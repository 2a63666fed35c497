"""A headless Chromium that opens pages, waits for their text and takes pictures, through the DevTools protocol.

For tests and for `docs/make_screenshots.py`. The browser ends with the context manager, whatever happens.
"""

import asyncio
import base64
import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.request import urlopen

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
START_S, PAGE_S = 300.0, 600.0  # bounds of a hang, not of a busy machine
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


class Browser:
    """One headless browser with one page.

    Args:
        width: of the window, pixels.
        height: of the window, pixels.
    """

    def __init__(self, width: int = 1600, height: int = 900) -> None:
        self.size = width, height
        self.errors: list[str] = []
        self._number = 0

    def __enter__(self) -> "Browser":
        self._profile = tempfile.mkdtemp(prefix="dg-chromium-")
        command = [
            str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--no-first-run",
            "--hide-scrollbars", "--disable-background-networking", "--disable-component-update", "--mute-audio",
            "--remote-debugging-port=0", f"--user-data-dir={self._profile}",
            f"--window-size={self.size[0]},{self.size[1]}", "about:blank",
        ]  # fmt: skip
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._loop = asyncio.new_event_loop()
        try:
            self._loop.run_until_complete(self._connect())
            width, height = self.size
            metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
            self.command("Emulation.setDeviceMetricsOverride", **metrics)
            for domain in ("Page", "Runtime", "Log"):
                self.command(f"{domain}.enable")
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.run_until_complete(self._close())
        self._end()

    # -- what a page is asked --------------------------------------------------------------------------------------

    def open(self, address: str, *texts: str, timeout_s: float = PAGE_S) -> str:
        """Open an address and wait until every text stands on the page; returns all its text."""
        self.command("Page.navigate", url="about:blank")  # an address that differs in its hash alone loads nothing
        self.command("Page.navigate", url=address)
        return self.wait_for(*texts, timeout_s=timeout_s)

    def wait_for(self, *texts: str, timeout_s: float = PAGE_S) -> str:
        """Wait until every text stands on the page; returns all its text."""
        give_up = time.monotonic() + timeout_s
        while True:
            shown = self.text()
            missing = [text for text in texts if text not in shown]
            if not missing and self.run("document.readyState") == "complete":
                return shown
            if time.monotonic() > give_up:
                raise AssertionError(f"not on the page after {timeout_s:g} s: {missing}; it shows:\n{shown[:4000]}")
            time.sleep(0.2)

    def text(self) -> str:
        """All text that the page shows."""
        return str(self.run("document.body ? document.body.innerText : ''"))

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        answer = self.command("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise AssertionError(f"{script[:200]}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Drag with the left mouse button."""
        for kind, (x, y) in (("mousePressed", start), ("mouseMoved", end), ("mouseReleased", end)):
            self.command("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    def picture(self, path: Path, height: int = 0) -> Path:
        """Write what the window shows, or the page's first `height` pixels, as a PNG."""
        options: dict[str, Any] = {}
        if height:
            clip = {"x": 0, "y": 0, "width": self.size[0], "height": height, "scale": 1}
            options = {"clip": clip, "captureBeyondViewport": True}
        answer = self.command("Page.captureScreenshot", format="png", **options)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(answer["data"]))
        return path

    def command(self, method: str, **params: Any) -> dict[str, Any]:
        """Send one command of the DevTools protocol and wait for its answer."""
        return self._loop.run_until_complete(self._ask(method, params))

    # -- the protocol ----------------------------------------------------------------------------------------------

    async def _connect(self) -> None:
        import aiohttp

        port_file = Path(self._profile, "DevToolsActivePort")
        give_up = time.monotonic() + START_S
        while not (port_file.is_file() and port_file.read_text().count("\n")):
            if time.monotonic() > give_up or self._process.poll() is not None:
                raise AssertionError(f"Chromium did not start within {START_S:g} s")
            await asyncio.sleep(0.1)
        port = port_file.read_text().splitlines()[0]
        with urlopen(f"http://127.0.0.1:{port}/json/list", timeout=START_S) as answer:
            pages = [target for target in json.load(answer) if target["type"] == "page"]
        self._session = aiohttp.ClientSession()
        self._socket = await self._session.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0)

    async def _ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": params})
        while True:
            answer = await asyncio.wait_for(self._socket.receive_json(), PAGE_S)
            self._note(answer)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']}")
                return answer["result"]

    def _note(self, message: dict[str, Any]) -> None:
        """Keep what goes wrong inside the page."""
        if message.get("method") == "Runtime.exceptionThrown":
            details = message["params"]["exceptionDetails"]
            self.errors.append(str(details.get("exception", {}).get("description", details.get("text"))))
        entry = message.get("params", {}).get("entry", {}) if message.get("method") == "Log.entryAdded" else {}
        if entry.get("level") == "error":
            self.errors.append(f"{entry.get('text')} {entry.get('url', '')}")

    async def _close(self) -> None:
        await self._socket.close()
        await self._session.close()

    def _end(self) -> None:
        self._loop.close()
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._profile, ignore_errors=True)
