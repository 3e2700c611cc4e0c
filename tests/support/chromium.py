"""A real Chromium without a window, driven by the DevTools protocol (https://chromedevtools.github.io/devtools-protocol/)."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from websockets.sync.client import ClientConnection, connect

MISSING = "chromium is not installed (the Debian package of this name)"
_START_SECONDS = 60.0
_ANSWER_SECONDS = 120.0
_PROBLEMS = ("error", "warning", "assert")


def chromium_path() -> str | None:
    """The Chromium of this machine, if it has one."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class ChromiumError(Exception):
    """The browser did not do what it was asked."""


class Tab:
    """One page, which remembers what went wrong on it.

    Attributes:
        complaints: Console errors and warnings, exceptions of scripts, failed loads, and breaches of the page's policy.
    """

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._number = 0
        self.complaints: list[str] = []
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result."""
        self._number += 1
        self._connection.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._connection.recv(timeout=_ANSWER_SECONDS))
            if message.get("id") == self._number:
                break
            self._heard(message)
        if "error" in message:
            raise ChromiumError(f"{method}: {message['error']['message']}")
        result: dict[str, Any] = message["result"]
        return result

    def open(self, url: str) -> None:
        """Go to an address; returns once the page is loaded."""
        result = self.call("Page.navigate", url=url)
        if "errorText" in result:
            raise ChromiumError(f"{url}: {result['errorText']}")
        self.wait("document.readyState === 'complete'")

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression on the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise ChromiumError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def wait(self, expression: str, seconds: float = 120.0) -> Any:
        """Return the value of an expression once it is true."""
        return _until(expression, lambda: self.evaluate(expression), seconds)

    def resize(self, width: int, height: int, *, phone: bool = False) -> None:
        """Be a screen of this size, in CSS pixels; a phone's has two device pixels for each, and is touched."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )

    def prefer(self, scheme: str) -> None:
        """Prefer the colour scheme ``light`` or ``dark``."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def run_scripts(self, run: bool) -> None:
        """Run the scripts of pages, or leave them."""
        self.call("Emulation.setScriptExecutionDisabled", value=not run)

    def screenshot(self, path: Path) -> None:
        """Write what the page is from top to bottom, as PNG."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def _heard(self, message: dict[str, Any]) -> None:
        of = message.get("params", {})
        match message["method"]:
            case "Runtime.exceptionThrown":
                self.complaints.append(str(of["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if of["type"] in _PROBLEMS:
                self.complaints.append(str(of["args"]))
            case "Log.entryAdded" if of["entry"]["level"] in _PROBLEMS:
                self.complaints.append(f"{of['entry']['text']} {of['entry'].get('url', '')}")


@contextmanager
def running_chromium() -> Iterator[Tab]:
    """Run a browser of its own with one empty page, and give that page.

    Raises:
        FileNotFoundError: There is no Chromium on this machine.
    """
    program = chromium_path()
    if program is None:
        raise FileNotFoundError(MISSING)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = [
            "--headless=new",
            "--remote-debugging-port=0",
            f"--user-data-dir={profile}",
            "--no-first-run",
            "--no-proxy-server",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            "--force-color-profile=srgb",
            # Its sandbox refuses to run as root, which a container's tests are.
            *(["--no-sandbox"] if os.geteuid() == 0 else []),
            "about:blank",
        ]
        log = Path(profile) / "chromium.log"
        with log.open("wb") as out:
            process = subprocess.Popen([program, *options], stdout=out, stderr=out)
        try:
            port = _port(Path(profile), process, log)
            with connect(_address_of_page(port), max_size=None, proxy=None) as connection:
                yield Tab(connection)
        finally:
            process.terminate()
            process.wait(20)


def _port(profile: Path, process: subprocess.Popen[bytes], log: Path) -> int:
    told = profile / "DevToolsActivePort"

    def written() -> int | None:
        if process.poll() is not None:
            raise ChromiumError(
                f"Chromium ended with status {process.returncode}:\n{log.read_text()[-2000:]}"
            )
        lines = told.read_text().splitlines() if told.exists() else []
        return int(lines[0]) if len(lines) > 1 else None

    return int(_until("Chromium tells its port", written, _START_SECONDS))


def _address_of_page(port: int) -> str:
    def found() -> str | None:
        listed = httpx.get(f"http://127.0.0.1:{port}/json/list", trust_env=False, timeout=10).json()
        return next((str(each["webSocketDebuggerUrl"]) for each in listed if each["type"] == "page"), None)

    return str(_until("Chromium has a page", found, _START_SECONDS))


def _until(what: str, probe: Callable[[], Any], seconds: float) -> Any:
    give_up = time.monotonic() + seconds
    while not (found := probe()):
        if time.monotonic() > give_up:
            raise ChromiumError(f"after {seconds:g} s still not: {what}")
        time.sleep(0.1)
    return found
