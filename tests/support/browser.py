"""Chromium without a window, controlled by its DevTools, with a wav as its microphone."""

import base64
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse
from support.waiting import until_async, until_here

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
    "--use-fake-device-for-media-stream",
    "--host-resolver-rules=MAP page.test 127.0.0.1",
)
CONTROL = 2
RECORDED = (".trouble", ".status", ".announcer", ".reading .now")
"""Elements whose text stays for less than a second: on a busy machine nobody may look meanwhile."""
RECORDER = f"""
{{
  const texts = Object.fromEntries({list(RECORDED)}.map((selector) => [selector, new Set()]));
  const record = () => {{
    for (const [selector, found] of Object.entries(texts))
      for (const element of document.querySelectorAll(selector)) found.add(element.textContent);
  }};
  const all = {{ subtree: true, childList: true, characterData: true, attributes: true }};
  new MutationObserver(record).observe(document.body, all);
  window.recorded = (selector) => [...texts[selector]];
}}
"""


class Page:
    """The browser's one tab."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self._socket = socket
        self._count = 0
        self.complaints: list[str] = []
        """What the console says is wrong: exceptions, refused requests, broken rules."""

    async def devtools(self, method: str, **parameters: object) -> dict[str, Any]:
        """One command of the DevTools and its answer."""
        self._count += 1
        wanted = self._count
        await self._socket.send_json({"id": wanted, "method": method, "params": parameters})
        while True:
            message = await self._socket.receive_json()
            if message.get("id") == wanted:
                assert "error" not in message, message
                return dict(message["result"])
            self._note(message)

    async def open(self, url: str) -> None:
        for domain in ("Page", "Runtime", "Log"):
            await self.devtools(f"{domain}.enable")
        await self.devtools("Page.navigate", url=url)
        await self.until("document.readyState === 'complete'")
        await self.run(RECORDER)

    async def run(self, script: str) -> Any:
        """The value of an expression, waited for where it is a promise."""
        answer = await self.devtools(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def until(self, script: str) -> None:
        """Waits for an expression to be true."""

        async def describe() -> str:
            return f"{script}\n{await self.text()}\n{self.complaints}"

        await until_async(lambda: self.run(f"!!({script})"), describe)

    async def until_shown(self, selector: str, text: str) -> None:
        """Waits until one of `RECORDED` has shown a text, however briefly."""
        await self.until(f"recorded({selector!r}).some((one) => one.includes({text!r}))")

    async def recorded(self, selector: str) -> list[str]:
        """All texts that one of `RECORDED` has shown, each once, in the order of the first time."""
        return list(await self.run(f"recorded({selector!r})"))

    async def see(self, selector: str) -> None:
        """Waits until such an element is shown."""
        await self.until(shown(selector))

    async def text(self, selector: str = "body") -> str:
        """What is to be read in the first such element that is shown."""
        return str(await self.run(f"({shown(selector)})?.innerText ?? ''"))

    async def click(self, selector: str) -> None:
        """With the mouse, as a person: browsers give sound and microphone to none else."""
        await self.see(selector)
        place = await self.run(
            f"(element => {{ element.scrollIntoView({{ block: 'nearest' }});"
            "const box = element.getBoundingClientRect();"
            f"return [box.x + box.width / 2, box.y + box.height / 2] }})({shown(selector)})"
        )
        for kind in ("mousePressed", "mouseReleased"):
            await self.devtools(
                "Input.dispatchMouseEvent",
                type=kind,
                x=place[0],
                y=place[1],
                button="left",
                clickCount=1,
            )

    async def choose(self, selector: str, *files: Path) -> None:
        """Files, in a field for them."""
        found = await self.devtools(
            "Runtime.evaluate", expression=f"document.querySelector({json.dumps(selector)})"
        )
        field = found["result"]["objectId"]
        await self.devtools("DOM.setFileInputFiles", files=[*map(str, files)], objectId=field)

    async def drop(self, selector: str, *files: Path) -> None:
        """Files, on an element."""
        contents = [base64.b64encode(file.read_bytes()).decode() for file in files]
        names = [file.name for file in files]
        await self.run(f"""
            (() => {{
              const carried = new DataTransfer();
              {json.dumps(contents)}.forEach((content, index) => {{
                const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
                carried.items.add(new File([bytes], {json.dumps(names)}[index]));
              }});
              const element = document.querySelector({json.dumps(selector)});
              for (const kind of ["dragover", "drop"]) {{
                const about = {{ dataTransfer: carried, bubbles: true, cancelable: true }};
                const event = new DragEvent(kind, about);
                if (element.dispatchEvent(event)) throw new Error("the browser would open it");
              }}
            }})()""")

    async def type(self, text: str) -> None:
        await self.devtools("Input.insertText", text=text)

    async def press(self, key: str, *, control: bool = False) -> None:
        """A key of the keyboard by its name, such as `Tab`."""
        code, text = KEYS[key]
        about = {"key": key, "code": key.strip() or "Space", "windowsVirtualKeyCode": code}
        about |= {"modifiers": CONTROL if control else 0}
        await self.devtools("Input.dispatchKeyEvent", type="keyDown", text=text, **about)
        await self.devtools("Input.dispatchKeyEvent", type="keyUp", **about)

    async def resize(self, width: int, height: int, scale: float = 1) -> None:
        await self.devtools(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 500,
        )

    async def prefer(self, **features: str) -> None:
        """Such as `color_scheme="dark"`."""
        named = [
            {"name": f"prefers-{k.replace('_', '-')}", "value": v} for k, v in features.items()
        ]
        await self.devtools("Emulation.setEmulatedMedia", features=named)

    async def saved(self, path: Path) -> bytes:
        """A file that is being downloaded."""
        await until_here(lambda: path.exists() and path.stat().st_size)
        return path.read_bytes()

    async def picture(self, path: Path) -> None:
        shot = await self.devtools("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(shot["data"]))

    def _note(self, message: dict[str, Any]) -> None:
        said = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(said["exceptionDetails"])[:2000])
        if message.get("method") == "Log.entryAdded" and said["entry"]["level"] == "error":
            self.complaints.append(f"{said['entry']['text']} {said['entry'].get('url', '')}")


KEYS = {"Tab": (9, ""), "Enter": (13, "\r"), " ": (32, " "), "ArrowRight": (39, "")}
"""The number and the text of each key that is used."""


def shown(selector: str) -> str:
    """An expression for the first such element that can be seen."""
    return f"[...document.querySelectorAll({json.dumps(selector)})].find(e => e.checkVisibility())"


def program() -> str:
    """Chromium's; skips the test where there is none."""
    found = next((path for name in PROGRAMS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("chromium is not installed")
    return found


@asynccontextmanager
async def browser(
    folder: Path, *, microphone: Path | None = None, allowed: bool = True
) -> AsyncIterator[Page]:
    """A browser that keeps its files in `folder`, hears a wav once from where the microphone is
    opened, and allows it or refuses."""
    flags = [*FLAGS, f"--user-data-dir={folder / 'chromium'}"]
    flags.append(f"--use-fake-ui-for-media-stream{'' if allowed else '=deny'}")
    if microphone is not None:
        flags.append(f"--use-file-for-fake-audio-capture={microphone}%noloop")
    with subprocess.Popen([program(), *flags, "about:blank"], stderr=subprocess.DEVNULL) as process:
        try:
            port = await _port(folder / "chromium" / "DevToolsActivePort")
            async with ClientSession() as session:
                tabs: list[dict[str, str]] = []

                async def has_a_tab() -> bool:
                    async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                        found = await answer.json(content_type=None)
                    tabs[:] = (tab for tab in found if tab["type"] == "page")
                    return bool(tabs)

                await until_async(has_a_tab)
                address = tabs[0]["webSocketDebuggerUrl"]
                async with session.ws_connect(address, max_msg_size=0) as socket:
                    yield Page(socket)
        finally:
            process.terminate()


async def _port(file: Path) -> int:
    await until_here(lambda: file.exists() and file.read_text().count("\n"))
    return int(file.read_text().split()[0])
