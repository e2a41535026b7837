"""A headless Chromium, driven over the pipe of its own debugging protocol: what the chat window's test needs.

Debian's `chromium` or any of its names on the path; without one the tests that ask for it are skipped. The pipe
(`--remote-debugging-pipe`) speaks JSON ended by a zero byte on file descriptors 3 and 4, so no port is opened and no
library is needed.
"""

import base64
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-extensions", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--hide-scrollbars",
    "--force-color-profile=srgb", "--mute-audio", "--remote-debugging-pipe",
)  # fmt: skip


def find() -> str | None:
    """The path of a Chromium, where there is one."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def _high_pipe() -> tuple[int, int]:
    """A pipe whose descriptors are out of the way of 3 and 4."""
    ends = os.pipe()
    high = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return high[0], high[1]


class Browser:
    """One Chromium with one page."""

    def __init__(self, program: str, profile: Path) -> None:
        (there, self._to), (self._from, back) = _high_pipe(), _high_pipe()
        launch = f"import os, sys; os.dup2({there}, 3); os.dup2({back}, 4); os.execv(sys.argv[1], sys.argv[1:])"
        self._process = subprocess.Popen(
            [sys.executable, "-c", launch, program, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(there, back), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        os.close(there)
        os.close(back)
        self._number, self._rest, self._session = 0, b"", ""
        self.events: list[dict[str, Any]] = []
        targets = self.send("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        self._session = self.send("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def close(self) -> None:
        """End it and all its processes."""
        os.close(self._to)
        os.close(self._from)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol and wait for its result; events that come meanwhile are kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self.events.append(answer)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            data = os.read(self._from, 1 << 16)
            if not data:
                raise RuntimeError("the browser has gone")
            self._rest += data
        one, _, self._rest = self._rest.partition(b"\0")
        return json.loads(one)

    def run(self, script: str) -> Any:
        """The value of an expression on the page; promises are awaited, errors raised."""
        found = self.send(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True, userGesture=True
        )
        if "exceptionDetails" in found:
            details = found["exceptionDetails"]
            raise RuntimeError(details.get("exception", {}).get("description") or details["text"])
        return found["result"].get("value")

    def wait(self, script: str, seconds: float = 20) -> Any:
        """Until an expression on the page is true."""
        end = time.monotonic() + seconds
        while not (value := self.run(f"(() => {{ try {{ return {script} }} catch {{ return false }} }})()")):
            assert time.monotonic() < end, (
                f"waited {seconds} s in vain for {script}; the page shows: {self.text()[:2000]}"
            )
            time.sleep(0.03)
        return value

    def open(self, url: str) -> None:
        """Go to a page and wait until it says that it is ready."""
        self.send("Page.navigate", url=url)
        self.wait(f"location.href.startsWith({json.dumps(url)}) && document.documentElement.dataset.ready === '1'")

    def text(self) -> str:
        """All that can be read on the page."""
        return self.run("document.body ? document.body.innerText : ''")

    def click(self, label: str, within: str = "document") -> None:
        """Press the shown button of this label, the last of them where there are several."""
        script = f"""(() => {{
            const found = [...{within}.querySelectorAll("button, summary, [role=radio], label")].filter((one) =>
                one.offsetParent !== null && one.textContent.trim() === {json.dumps(label)});
            if (!found.length) return false;
            found.at(-1).click();
            return true;
        }})()"""
        assert self.run(script), f"no button {label!r}; the page shows: {self.text()[:2000]}"

    def type(self, text: str) -> None:
        """Type into what has the focus."""
        self.send("Input.insertText", text=text)

    def key(self, key: str, code: str = "", modifiers: int = 0) -> None:
        """Press a key; modifiers: 1 Alt, 2 Ctrl, 8 Shift."""
        codes = {"Enter": 13, "Escape": 27, "Tab": 9, "ArrowUp": 38, "ArrowRight": 39}
        what = {"key": key, "code": code or key, "windowsVirtualKeyCode": codes.get(key, 0), "modifiers": modifiers}
        text = {"text": "\r"} if key == "Enter" and not modifiers & 8 else {}
        self.send("Input.dispatchKeyEvent", type="keyDown", **what, **text)
        self.send("Input.dispatchKeyEvent", type="keyUp", **what)

    def size(self, width: int, height: int, scale: float = 1) -> None:
        """Size of the window in CSS pixels."""
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=False
        )

    def scheme(self, scheme: str) -> None:
        """What the system prefers: light or dark."""
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def screenshot(self, path: Path) -> None:
        """The window as a PNG."""
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"]))

    def complaints(self) -> list[str]:
        """What the console and the policies complained of, and exceptions."""
        self.run("0")
        found = []
        for event in self.events:
            if event.get("method") == "Runtime.exceptionThrown":
                details = event["params"]["exceptionDetails"]
                found.append(details.get("exception", {}).get("description") or details["text"])
            elif event.get("method") == "Log.entryAdded" and event["params"]["entry"]["level"] == "error":
                found.append(event["params"]["entry"]["text"])
        return found
