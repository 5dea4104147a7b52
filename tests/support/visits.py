"""Scenarios of the web page: a server, a browser, and what a person would do."""

import asyncio
import difflib
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import numpy as np
from support.browser import Page, browser
from support.page_server import PageServer, serving
from support.speech import RATE, Array, write_wav

from kyutai_onnx.models import SpeechToText

Scenario = Callable[[Page, PageServer], Awaitable[None]]


def on_page(
    folder: Path,
    server: PageServer,
    scenario: Scenario,
    *,
    microphone: Path | None = None,
    allowed: bool = True,
    host: str = "127.0.0.1",
    complaints: tuple[str, ...] = (),
) -> None:
    """Opens the page of a server for tests and plays a scenario on it; every complaint of the
    browser's console is a failure, but for those with one of `complaints` in them."""

    async def play() -> None:
        async with (
            serving(server),
            browser(folder, microphone=microphone, allowed=allowed) as page,
        ):
            await page.open(server.address.replace("127.0.0.1", host))
            await scenario(page, server)
            surprises = [c for c in page.complaints if not any(part in c for part in complaints)]
            assert surprises == []

    asyncio.run(play())


def lines(text: str) -> list[str]:
    """Of a transcript, without the times."""
    return [line for line in text.splitlines() if line and ":" not in line]


def transcript(model: SpeechToText, received: Sequence[Array]) -> str:
    """The text of what a server received: sound cards drop samples on a busy machine, and the
    words may then be others than those that were spoken."""
    return " ".join(word.text for word in model.transcribe(np.concatenate(received)))


def alike(found: Sequence[str], expected: Sequence[str]) -> bool:
    """Whether most words are those expected, in their order."""
    one, other = (" ".join(words).split() for words in (found, expected))
    return difflib.SequenceMatcher(None, one, other).ratio() > 0.5


def figure(name: str) -> str:
    """An expression for the number that is shown under a name."""
    return (
        f"parseFloat([...document.querySelectorAll('{PANEL} .figures div')]"
        f".find(each => each.firstChild.textContent === '{name}')?.lastChild.textContent)"
    )


PANEL = "section:not([hidden])"
STATE = f"document.querySelector('{PANEL}').dataset.state"
IDLE = f"{STATE} === 'idle'"


def microphone(folder: Path, *sentences: Array) -> Path:
    """A wav of sentences float32 `[n]` with silence around each."""
    parts = [silence(1)]
    for sentence in sentences:
        parts += [sentence, silence(2.5)]
    return write_wav(folder / "microphone.wav", np.concatenate(parts))


def silence(seconds: float) -> Array:
    return np.zeros(int(seconds * RATE), np.float32)
