"""What the web page says when things go wrong, and how it goes on."""

from pathlib import Path

import pytest
import soundfile
from support.speech import Array

from kyutai_onnx.models import SpeechToText

pytest.importorskip("aiohttp")
pytest.importorskip("msgpack")

from support.browser import Page
from support.page_server import FRAME, PageServer
from support.visits import IDLE, alike, lines, microphone, on_page, silence, transcript
from support.waiting import until_here

FRAMES = 8
UNAUTHORIZED = "status of 401"
CUT = "ws://"


async def start(page: Page) -> None:
    await page.see(".main")
    await page.click(".main")


async def says(page: Page, words: str) -> None:
    await page.until(f"document.body.innerText.includes({words!r})")


def test_a_key_is_asked_for_and_sent_with_everything(pcm: Array, tmp_path: Path) -> None:
    async def unlock(page: Page, server: PageServer) -> None:
        await says(page, "asks for an API key")
        assert await page.run("document.activeElement.id") == "key-field"
        await page.type("guess")
        await page.press("Enter")
        await says(page, "does not know this key")
        await page.run("document.getElementById('key-field').value = ''")
        await page.type("open sesame & co")
        await page.press("Enter")
        await start(page)
        await says(page, "back1")
        assert {asked["auth_id"] for asked in server.asked} == {"open sesame & co"}
        await page.devtools("Page.reload")
        await page.see(".main")

    on_page(
        tmp_path,
        PageServer(families=("hibiki",), key="open sesame & co"),
        unlock,
        microphone=microphone(tmp_path, pcm),
        complaints=(UNAUTHORIZED,),
    )


def test_a_key_that_was_withdrawn_is_asked_for_again(tmp_path: Path) -> None:
    async def lock(page: Page, server: PageServer) -> None:
        await page.see("textarea")
        server.key = "new"
        await page.click("textarea")
        await page.type("boston")
        await page.click(".main")
        await says(page, "asks for an API key")

    on_page(tmp_path, PageServer(families=("tts",)), lock, complaints=(UNAUTHORIZED, CUT))


@pytest.mark.parametrize("family", ["stt", "hibiki", "tts"])
def test_a_server_that_is_full_says_so_and_can_be_asked_again(
    family: str, model: SpeechToText, pcm: Array, tmp_path: Path
) -> None:
    async def ask(page: Page, server: PageServer) -> None:
        await page.see(".main")
        if family == "tts":
            await page.click("textarea")
            await page.type("boston")
        await page.click(".main")
        await says(page, "every channel is in use")
        server.full = False
        await page.click(".main")
        await page.until("document.querySelector('section').dataset.state === 'running'")
        assert not await page.run("document.querySelector('.trouble').checkVisibility()")

    server = PageServer(model, families=(family,), full=True)
    on_page(tmp_path, server, ask, microphone=microphone(tmp_path, pcm))


def test_a_connection_that_is_lost_is_made_again_and_no_word_with_it(
    model: SpeechToText, pcm: Array, text: str, tmp_path: Path
) -> None:
    """The first session is cut off in the silence before the speech."""

    async def listen(page: Page, server: PageServer) -> None:
        await start(page)
        await page.until_shown(".status", " 0.5 s")
        await until_here(lambda: len(server.captured) * FRAME > soundfile.info(captured).frames)
        await page.click(".main")
        await page.until(IDLE)
        words = transcript(model, server.captured[FRAMES:])
        assert " ".join(lines(await page.text(".transcript"))) == words
        assert alike(words.split(), text.split())
        assert [asked["path"] for asked in server.asked].count("/api/asr-streaming") == 2

    server = PageServer(model, families=("stt",), drop_after=FRAMES)
    captured = microphone(tmp_path, silence(4), pcm)
    on_page(tmp_path, server, listen, microphone=captured, complaints=(CUT,))


def test_a_talk_that_the_server_ends_is_reported(pcm: Array, tmp_path: Path) -> None:
    async def talk(page: Page, server: PageServer) -> None:
        await start(page)
        await says(page, "The server ended the session")
        await says(page, "back1")

    server = PageServer(families=("moshi",), end_after=30)
    on_page(tmp_path, server, talk, microphone=microphone(tmp_path, pcm))


def test_a_server_that_stays_away_is_given_up(model: SpeechToText, tmp_path: Path) -> None:
    async def listen(page: Page, server: PageServer) -> None:
        await start(page)
        for wait in ("0.5", "1", "2", "4", "8"):
            await page.until_shown(".status", f" {wait} s")
        await page.until(IDLE)
        assert "was lost" in await page.text(".trouble")

    server = PageServer(model, families=("stt",), drop_after=1, drops=6)
    on_page(tmp_path, server, listen, complaints=(CUT,))


def test_a_microphone_that_is_refused_is_reported(tmp_path: Path) -> None:
    async def refuse(page: Page, server: PageServer) -> None:
        await start(page)
        await says(page, "The microphone is blocked")
        assert await page.run("document.querySelector('section').dataset.state") == "idle"

    on_page(tmp_path, PageServer(), refuse, allowed=False)


@pytest.mark.parametrize("family", ["stt", "hibiki"])
def test_a_page_without_https_says_what_it_needs(family: str, tmp_path: Path) -> None:
    async def insecure(page: Page, server: PageServer) -> None:
        await start(page)
        await says(page, "Browsers give the microphone only to pages from https")

    on_page(tmp_path, PageServer(families=(family,)), insecure, host="page.test")


def test_what_is_not_the_protocol_is_reported(tmp_path: Path) -> None:
    async def speak(page: Page, server: PageServer) -> None:
        await page.click("textarea")
        await page.type("boston")
        await page.click(".main")
        await says(page, "something that this page does not understand")

    on_page(tmp_path, PageServer(families=("tts",), garbled=True), speak)


def test_a_server_without_models_is_asked_again(tmp_path: Path) -> None:
    async def wait(page: Page, server: PageServer) -> None:
        await says(page, "no model for this page")
        server.families = ("tts",)
        await page.press("Enter")
        await page.see("textarea")

    on_page(tmp_path, PageServer(families=()), wait)
