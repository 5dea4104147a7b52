"""The page of `transcribe -f html`, opened from the disk in a browser."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest
from support.commands import Command
from support.speech import RATE, Array, hiss, write_wav

from kyutai_onnx.cli.output import html_page
from kyutai_onnx.models import SpeechToText, Word

pytest.importorskip("aiohttp")

from support.browser import Page, browser

NOW = "document.querySelector('.w.now')?.textContent"
TIME = "document.querySelector('audio').currentTime"
READY = "document.querySelector('audio').readyState > 2"


def look(folder: Path, file: Path, scenario: Callable[[Page], Awaitable[None]]) -> None:
    async def play() -> None:
        async with browser(folder) as page:
            await page.open(file.as_uri())
            await scenario(page)
            asked = "performance.getEntriesByType('resource').map(each => each.name)"
            assert [name for name in await page.run(asked) if name.startswith("http")] == []
            assert page.complaints == []

    asyncio.run(play())


@pytest.fixture
def written(command: Command, speech: Path, tmp_path: Path) -> Path:
    """The page of a recording that is gone by now."""
    recording, file = tmp_path / "speech.wav", tmp_path / "page" / "speech.html"
    recording.write_bytes(speech.read_bytes())
    file.parent.mkdir()
    assert command("transcribe", recording, "-o", file).code == 0
    recording.unlink()
    return file


def test_words_are_lit_while_they_are_spoken_and_are_clicked(
    written: Path, tmp_path: Path, words: list[Word]
) -> None:
    async def follow(page: Page) -> None:
        await page.until(READY)
        shown = await page.run("[...document.querySelectorAll('.w')].map(e => e.textContent)")
        assert shown == [word.text for word in words]
        middle = words[len(words) // 2]
        await page.click(f".w[data-s='{middle.start:.3f}']")
        await page.until(f"{NOW} === '{middle.text}'")
        assert await page.run(TIME) >= middle.start
        await page.until(f"{NOW} === '{words[-1].text}'")
        await page.click("section button")
        await page.until(f"{NOW} === '{words[0].text}'")

    look(tmp_path, written, follow)


def test_words_are_found(written: Path, tmp_path: Path, words: list[Word]) -> None:
    async def search(page: Page) -> None:
        phrase = f"{words[1].text} {words[2].text[:2]}"
        await page.press("Tab")
        await page.click("input")
        await page.type(phrase.upper())
        found = "[...document.querySelectorAll('.hit')].map(e => e.textContent)"
        assert await page.run(found) == [words[1].text, words[2].text]
        assert await page.text("output") == "1 found"
        await page.press("Enter")
        assert await page.text("output") == "1 of 1"
        await page.type(" nothing of the kind")
        assert await page.run(found) == []
        assert await page.text("output") == "0 found"

    look(tmp_path, written, search)


def test_it_is_dark_light_and_printable(written: Path, tmp_path: Path) -> None:
    async def compare(page: Page) -> None:
        color = "getComputedStyle(document.body).backgroundColor"
        grounds = []
        for scheme in ("light", "dark"):
            await page.prefer(color_scheme=scheme)
            grounds.append(await page.run(color))
        assert len(set(grounds)) == 2
        await page.see("header")
        await page.devtools("Emulation.setEmulatedMedia", media="print")
        await page.until("!document.querySelector('header').checkVisibility()")
        assert await page.text(".w")

    look(tmp_path, written, compare)


def test_a_large_recording_is_played_from_its_file(
    command: Command, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(html_page, "EMBEDDED_BYTES", 1000)
    recording = tmp_path / "a talk #1.wav"
    recording.write_bytes(speech.read_bytes())
    (tmp_path / "page").mkdir()
    file = tmp_path / "page" / "speech.html"
    assert command("transcribe", recording, "-o", file).code == 0
    assert file.stat().st_size < 30_000
    monkeypatch.chdir("/")

    async def play(page: Page) -> None:
        await page.until(READY)
        assert (await page.run("document.querySelector('audio').duration")) > 2

    look(tmp_path, file, play)


def test_pauses_and_doubts_are_shown(
    command: Command, model: SpeechToText, pcm: Array, tmp_path: Path
) -> None:
    noise = np.random.default_rng(3).normal(0, 0.02, len(pcm)).astype(np.float32)
    talk = np.concatenate([pcm, hiss(3), pcm + noise])
    recording = write_wav(tmp_path / "talk.wav", talk)
    assert len(talk) > 5 * RATE
    assert command("transcribe", recording, "-o", tmp_path / "talk.html").code == 0
    found = list(model.transcribe(recording))
    doubtful = min(found, key=lambda word: word.confidence or 0)

    async def read(page: Page) -> None:
        assert "pause of" in await page.text("p.pause")
        assert await page.run("document.querySelectorAll('section').length") > 1
        shade = "getComputedStyle(each).backgroundColor"
        colors = await page.run(f"[...document.querySelectorAll('.w')].map(each => {shade})")
        place = found.index(doubtful)
        certain = max(range(len(found)), key=lambda index: found[index].confidence or 0)
        assert colors[place] != colors[certain]
        assert doubtful.confidence is not None
        await page.run(
            f"document.querySelectorAll('.w')[{place}]"
            ".dispatchEvent(new MouseEvent('mouseover', {bubbles: true}))"
        )
        title = await page.run(f"document.querySelectorAll('.w')[{place}].title")
        assert float(title.split()[-1]) == pytest.approx(doubtful.confidence, abs=0.002)

    look(tmp_path, tmp_path / "talk.html", read)


def test_a_name_and_words_are_no_markup(tmp_path: Path) -> None:
    from kyutai_onnx.models.events import Transcript

    transcript = Transcript("<i>.wav", "<b>model", "int8", [Word("<script>{{about}}", 0, 1, 0.5)])
    file = tmp_path / "page.html"
    file.write_text(html_page.page(transcript, tmp_path), "utf-8")

    async def read(page: Page) -> None:
        assert await page.text("h1") == "<i>.wav"
        assert await page.text(".w") == "<script>{{about}}"
        assert "<b>model" in await page.text("footer")
        assert await page.run("document.querySelector('audio')") is None

    look(tmp_path, file, read)
