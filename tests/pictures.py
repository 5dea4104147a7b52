"""Takes the pictures of the page that docs/ shows, of a server with the demos:
`python tests/pictures.py docs`."""

import asyncio
import json
import sys
import tempfile
from pathlib import Path

from support.browser import Page, browser
from support.serving import HIBIKI, STT, TTS, running
from support.speech import whole
from support.visits import microphone

from kyutai_onnx.models.resolve import DEMO

WIDE, PHONE = (1100, 760, 1.5), (390, 780, 2)
SENTENCE = "remind me to buy apples and butter today"
MANIFEST = DEMO / "samples" / "manifest.jsonl"


async def take(url: str, folder: Path, out: Path) -> None:
    samples = [json.loads(line) for line in MANIFEST.read_text("utf-8").splitlines()]
    captured = microphone(folder, *(whole(DEMO / "samples" / each["audio"]) for each in samples))
    async with browser(folder, microphone=captured) as page:
        await page.open(url)
        await listen(page, out)
        await page.prefer(color_scheme="dark")
        await speak(page, out)


async def listen(page: Page, out: Path) -> None:
    await page.resize(*WIDE)
    await page.click(".main")
    await page.until("document.querySelector('.transcript').innerText.includes('butter')")
    await page.picture(out / "page-stt.png")
    await page.resize(*PHONE)
    await page.run("Promise.all(document.getAnimations().map((each) => each.finished))")
    await page.picture(out / "page-phone.png")


async def speak(page: Page, out: Path) -> None:
    await page.resize(*WIDE)
    await page.click("#speak-tab")
    await page.click("textarea")
    await page.type(SENTENCE)
    await page.click(".main")
    await page.until("document.querySelector('.reading .now')?.textContent === 'apples'")
    await page.picture(out / "page-dark.png")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch, running(STT, TTS, HIBIKI) as server:
        asyncio.run(take(server.url + "/", Path(scratch), Path(sys.argv[1])))
