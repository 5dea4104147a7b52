"""The web page in a browser: what it shows and plays of a model on a server."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from support.speech import RATE, Array, whole

from kyutai_onnx.models import SpeechToText
from kyutai_onnx.models.resolve import DEMO

pytest.importorskip("aiohttp")
pytest.importorskip("msgpack")

from support.browser import Page
from support.page_server import FRAME, PageServer, tone
from support.visits import (
    IDLE,
    STATE,
    alike,
    figure,
    lines,
    microphone,
    on_page,
    transcript,
)
from support.waiting import until_here

MANIFEST = DEMO / "samples" / "manifest.jsonl"
SAMPLES = [json.loads(line) for line in MANIFEST.read_text("utf-8").splitlines()]
SENTENCE = "the train to boston leaves at nine fifty"


@pytest.mark.parametrize("heads", [True, False], ids=["heads", "no-heads"])
def test_what_the_microphone_does_is_read_a_line_up_to_each_pause(
    heads: bool, model: SpeechToText, tmp_path: Path
) -> None:
    async def listen(page: Page, server: PageServer) -> None:
        await page.see(".main")
        await page.click(".main")
        await page.until(f"{STATE} === 'running'")
        await until_here(lambda: len(server.captured) * FRAME > soundfile.info(captured).frames)
        assert await page.run(figure("Latency")) > 0.4
        await page.click(".main")
        await page.until(IDLE)
        shown = lines(await page.text(".transcript"))
        announced = " ".join(await page.recorded(".announcer"))
        assert " ".join(shown) == transcript(model, server.captured)
        assert announced.split() == " ".join(shown).split()
        assert len(shown) >= len(SAMPLES)
        assert alike(shown, [sample["text"] for sample in SAMPLES])
        assert {len(pcm) for pcm in server.captured} == {FRAME}

    sentences = [whole(DEMO / "samples" / sample["audio"]) for sample in SAMPLES]
    captured = microphone(tmp_path, *sentences)
    on_page(tmp_path, PageServer(model, heads=heads), listen, microphone=captured)


def test_the_last_words_are_transcribed_after_the_microphone_is_closed(
    model: SpeechToText, pcm: Array, tmp_path: Path
) -> None:
    async def stop_early(page: Page, server: PageServer) -> None:
        await page.see(".main")
        await page.click(".main")
        await page.until("document.querySelector('.transcript .word')")
        await page.click(".main")
        await page.until(IDLE)
        shown = " ".join(lines(await page.text(".transcript"))).split()
        words = transcript(model, server.captured).split()
        assert shown == words[: len(shown)]
        assert len(shown) >= len(words) - 1  # the last one may have been cut off

    on_page(tmp_path, PageServer(model), stop_early, microphone=microphone(tmp_path, pcm))


def test_a_text_is_spoken_word_by_word_and_kept_as_a_wav(tmp_path: Path) -> None:
    async def speak(page: Page, server: PageServer) -> None:
        await page.click("#speak-tab")
        await page.until("document.querySelector('.voice select').value === 'tales/calm.wav'")
        assert await page.run(
            "[...document.querySelectorAll('.voice option')].map(each => each.textContent)"
        ) == ["plain", "calm.wav", "merry.wav"]
        await page.run("document.querySelector('.voice select').value = 'tales/merry.wav'")
        await page.click("textarea")
        await page.type(SENTENCE)
        await page.press("Enter", control=True)
        await page.until_shown(".reading .now", "")
        await page.until(IDLE)
        assert set(await page.recorded(".reading .now")) <= set(SENTENCE.split())
        seconds = len(SENTENCE.split()) * 4 * FRAME / RATE
        assert await page.run(figure("Made")) == pytest.approx(seconds, abs=0.01)
        assert await page.run(figure("Played")) == pytest.approx(seconds, abs=0.01)
        assert await page.run("document.querySelector('textarea').value") == SENTENCE
        assert server.said == [SENTENCE]
        asked = server.asked[-1]
        assert asked["voice"] == "tales/merry.wav"
        assert asked["format"] == "PcmMessagePack"
        await page.devtools(
            "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path)
        )
        await page.click(".download")
        saved = await page.saved(tmp_path / "speech.wav")
        samples, rate = soundfile.read(io.BytesIO(saved), dtype="float32")
        assert rate == RATE
        assert np.abs(samples - tone(0, len(samples))).max() < 1e-4
        assert len(samples) == round(seconds * RATE)

    on_page(tmp_path, PageServer(), speak)


def test_a_speech_is_stopped_at_once(tmp_path: Path) -> None:
    async def stop(page: Page, server: PageServer) -> None:
        await page.click("#speak-tab")
        await page.click("textarea")
        await page.type(" ".join(20 * [SENTENCE]))
        await page.click(".main")
        await page.until(f"{figure('Played')} > 0.3")
        await page.click(".main")
        await page.until(IDLE)
        assert await page.run(figure("Played")) < await page.run(figure("Made"))
        await page.see(".download")

    on_page(tmp_path, PageServer(), stop)


@pytest.mark.parametrize("family", ["hibiki", "moshi"])
def test_a_talk_goes_both_ways(family: str, pcm: Array, tmp_path: Path) -> None:
    av = pytest.importorskip("av")

    async def talk(page: Page, server: PageServer) -> None:
        await page.see(".main")
        await page.click(".main")
        await page.until("document.querySelector('.transcript').innerText.includes('back1 back2')")
        await page.until("Number(document.querySelector('.meter.output').ariaValueNow) > 50")
        assert await page.run(figure("Latency")) >= 0
        await page.until("document.querySelector('.transcript').innerText.includes('back6')")
        await page.click(".main")
        await page.until(IDLE)
        assert server.asked[-1] == {"path": "/api/chat", "model": f"{family}-demo"}

    server = PageServer(families=(family,))
    on_page(tmp_path, server, talk, microphone=microphone(tmp_path, pcm))
    with av.open(io.BytesIO(bytes(server.talked)), format="ogg") as container:
        captured = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
    assert len(captured) / 48000 > 2.5
    assert np.abs(captured).max() > 0.2


def test_words_are_copied_saved_and_cleared(pcm: Array, tmp_path: Path) -> None:
    async def keep(page: Page, server: PageServer) -> None:
        await page.click(".main")
        await page.until("document.querySelector('.transcript').innerText.includes('back3')")
        await page.click(".main")
        await page.until(IDLE)
        words = lines(await page.text(".transcript"))
        assert words[0].startswith("back1 back2 back3")
        await page.devtools(
            "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path)
        )
        await page.click(".save")
        assert (await page.saved(tmp_path / "words.txt")).decode() == "\n".join(words) + "\n"
        clipboard = ["clipboardReadWrite", "clipboardSanitizedWrite"]
        await page.devtools("Browser.grantPermissions", permissions=clipboard)
        await page.devtools("Emulation.setFocusEmulationEnabled", enabled=True)
        await page.click(".copy")
        await page.until_shown(".status", "Copied")
        assert await page.run("navigator.clipboard.readText()") == "\n".join(words)
        await page.click(".clear")
        await page.see(".hint")
        assert await page.text(".transcript") == ""

    server = PageServer(families=("moshi",))
    on_page(tmp_path, server, keep, microphone=microphone(tmp_path, pcm))


def test_only_what_the_server_has_is_offered(tmp_path: Path) -> None:
    async def look(page: Page, server: PageServer) -> None:
        await page.see("textarea")
        assert not await page.run("document.getElementById('tabs').checkVisibility()")

    on_page(tmp_path, PageServer(families=("tts",)), look)


def test_one_of_several_models_is_chosen(tmp_path: Path) -> None:
    async def choose(page: Page, server: PageServer) -> None:
        await page.click("#speak-tab")
        await page.run(
            "const [select] = document.querySelectorAll('#speak .model select');"
            "select.value = 'tts-demo-2'; select.dispatchEvent(new Event('change'))"
        )
        await page.click("textarea")
        await page.type("boston")
        await page.click(".main")
        await page.until(f"{figure('Played')} > 0")
        models = [asked.get("model") for asked in server.asked if asked["path"] != "/v1/models"]
        assert models == ["tts-demo", "tts-demo-2", "tts-demo-2"]

    on_page(tmp_path, PageServer(families=("stt", "tts", "tts")), choose)
