"""The web page as the server shows it, with the embedded demos: speech is read, text is spoken, and
French numbers are said in English."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import soundfile
from support.speech import Array, say_aloud, whole

from kyutai_onnx.models import SpeechToText
from kyutai_onnx.models.families import FAMILIES, SPEECH_TO_TEXT, TEXT_TO_SPEECH
from kyutai_onnx.models.resolve import DEMO
from kyutai_onnx.server.engine import Session

pytest.importorskip("aiohttp")
pytest.importorskip("av")
pytest.importorskip("msgpack")

from support.browser import Page, browser
from support.serving import HIBIKI, STT, TTS, running
from support.visits import IDLE, alike, figure, lines, microphone, transcript
from support.waiting import until_here

MANIFEST = DEMO / "samples" / "manifest.jsonl"
SAMPLES = [json.loads(line) for line in MANIFEST.read_text("utf-8").splitlines()]


def look(
    folder: Path,
    scenario: Callable[[Page], Awaitable[None]],
    *,
    captured: Path | None = None,
    keys: tuple[str, ...] = (),
    complaints: int = 0,
) -> None:
    """Plays a scenario on the page of a server that has all the demos."""
    with running(STT, TTS, HIBIKI, api_keys=keys) as server:

        async def play() -> None:
            async with browser(folder, microphone=captured) as page:
                await page.open(server.url + "/")
                await scenario(page)
                assert len(page.complaints) == complaints, page.complaints

        asyncio.run(play())


def test_the_samples_are_transcribed(
    tmp_path: Path, model: SpeechToText, monkeypatch: pytest.MonkeyPatch
) -> None:
    received, feed = list[Array](), Session.feed

    def noted(session: Session, pcm: Array) -> None:
        received.append(pcm)
        feed(session, pcm)

    monkeypatch.setattr(Session, "feed", noted)
    sentences = [whole(DEMO / "samples" / sample["audio"]) for sample in SAMPLES]
    spoken = microphone(tmp_path, *sentences)

    async def listen(page: Page) -> None:
        await page.click(".main")
        await until_here(lambda: sum(map(len, received)) > soundfile.info(spoken).frames)
        assert await page.run(figure("Latency")) > 0.4
        await page.click(".main")
        await page.until(IDLE)
        shown = lines(await page.text(".transcript"))
        assert " ".join(shown) == transcript(model, received)
        assert alike(shown, [sample["text"] for sample in SAMPLES])

    look(tmp_path, listen, captured=spoken)


def test_a_text_is_spoken(tmp_path: Path) -> None:
    async def speak(page: Page) -> None:
        await page.click("#speak-tab")
        await page.click("textarea")
        await page.type("the train to boston leaves at nine fifty")
        await page.click(".main")
        await page.until_shown(".reading .now", "")
        await page.until(IDLE)
        assert await page.run(figure("Played")) > 2
        assert await page.run(figure("Played")) == await page.run(figure("Made"))

    look(tmp_path, speak)


def test_a_french_number_is_said_in_english(tmp_path: Path) -> None:
    async def translate(page: Page) -> None:
        await page.click("#translate-tab")
        await page.click(".main")
        await page.until("document.querySelector('#translate .transcript .word')")
        await page.until(
            "Number(document.querySelector('#translate .meter.output').ariaValueNow) > 30"
        )
        await page.click(".main")
        await page.until(IDLE)

    number = whole(say_aloud(tmp_path / "number.wav", "quarante-deux", "fr"))
    look(tmp_path, translate, captured=microphone(tmp_path, number))


def test_a_key_opens_the_page_and_its_sockets(tmp_path: Path) -> None:
    async def unlock(page: Page) -> None:
        await page.see("#key-field")
        await page.type("open sesame")
        await page.press("Enter")
        await page.click("#speak-tab")
        await page.click("textarea")
        await page.type("boston")
        await page.click(".main")
        await page.until(f"{figure('Played')} > 0")

    look(tmp_path, unlock, keys=("open sesame",), complaints=1)


def test_a_recording_is_transcribed(tmp_path: Path) -> None:
    """One that is chosen, and one that is dropped, on a server with a key."""
    one, other = SAMPLES[0], SAMPLES[1]

    async def read(page: Page) -> None:
        await page.see("#key-field")
        await page.type("open sesame")
        await page.press("Enter")
        await page.see(".file")
        await page.choose(".file input", DEMO / "samples" / one["audio"])
        await page.until("document.querySelector('.transcript .word')")
        await page.until(IDLE)
        assert alike(lines(await page.text(".transcript")), [one["text"]])
        assert any("0:0" in said for said in await page.recorded(".status"))
        await page.drop(".transcript", DEMO / "samples" / other["audio"])
        await page.until(f"document.querySelectorAll('.transcript time').length > 1 && {IDLE}")
        assert alike(lines(await page.text(".transcript")), [one["text"], other["text"]])

    look(tmp_path, read, keys=("open sesame",), complaints=1)


def test_what_is_no_recording_is_one_line(tmp_path: Path) -> None:
    text = tmp_path / "words.wav"
    text.write_text("no audio")
    sample = DEMO / "samples" / SAMPLES[0]["audio"]

    async def read(page: Page) -> None:
        await page.see(".file")
        await page.choose(".file input", text)
        await page.see(".trouble")
        await page.until(IDLE)
        assert len((await page.text(".trouble")).splitlines()) == 1
        await page.drop(".transcript", sample, sample)
        await page.until_shown(".trouble", "one recording")
        await page.choose(".file input", sample)
        await page.until("document.querySelector('.transcript .word')")
        assert await page.text(".trouble") == ""

    look(tmp_path, read, complaints=1)


def test_each_model_is_named_with_its_languages_and_what_a_demo_knows(tmp_path: Path) -> None:
    async def read(page: Page) -> None:
        for use, family in (
            ("transcribe", SPEECH_TO_TEXT),
            ("translate", FAMILIES["hibiki"]),
            ("speak", TEXT_TO_SPEECH),
        ):
            await page.click(f"#{use}-tab")
            said = await page.text(".about")
            assert said.endswith(family.demo.knows)
            assert "English" in said
            assert ("French" in said) == (use == "translate")

    look(tmp_path, read)
