"""The web page for everybody: with a keyboard, read aloud, on a phone, in the dark, without
animations."""

import re
from pathlib import Path

import pytest
from support.speech import Array

pytest.importorskip("aiohttp")
pytest.importorskip("msgpack")

from support.browser import Page
from support.page_server import PAGE, PageServer
from support.visits import microphone, on_page

EVERYTHING = ("stt", "hibiki", "moshi", "tts", "tts")
ANNOUNCED = {
    "button",
    "tab",
    "textbox",
    "combobox",
    "meter",
    "region",
    "tablist",
    "tabpanel",
    "link",
}
READABLE = 4.5
"""The contrast that WCAG 2 asks for at level AA."""


def test_the_keyboard_alone_goes_everywhere(pcm: Array, tmp_path: Path) -> None:
    async def press(page: Page, server: PageServer) -> None:
        await page.see("[role=tab]")
        await page.press("Tab")
        assert await focus(page) == "Transcribe"
        await page.press("ArrowRight")
        assert await focus(page) == "Translate"
        await page.press("Tab")
        assert await focus(page) == "Translate: words"
        await page.press("Tab")
        assert await focus(page) == "Start translating"
        await page.press(" ")
        await page.until(
            "document.querySelector('#translate .transcript').innerText.includes('back')"
        )
        await page.press(" ")
        await page.until("document.querySelector('#translate').dataset.state === 'idle'")
        assert await focus(page) == "Start translating"

    server = PageServer(families=("stt", "hibiki"))
    on_page(tmp_path, server, press, microphone=microphone(tmp_path, pcm))


async def focus(page: Page) -> str:
    return str(
        await page.run(
            "document.activeElement.ariaLabel ?? document.activeElement.innerText.trim()"
        )
    )


def test_whatever_is_used_has_a_name(tmp_path: Path) -> None:
    async def read(page: Page, server: PageServer) -> None:
        found = set()
        for number in range(len(set(EVERYTHING))):
            await page.click(f"[role=tab]:nth-of-type({number + 1})")
            for node in (await page.devtools("Accessibility.getFullAXTree"))["nodes"]:
                role = node.get("role", {}).get("value")
                if node["ignored"] or role not in ANNOUNCED:
                    continue
                found.add(role)
                assert node["name"]["value"].strip(), node
        assert found >= ANNOUNCED - {"link"}
        assert await page.run("document.documentElement.lang") == "en"
        assert await page.run("document.querySelectorAll('h1').length") == 1

    on_page(tmp_path, PageServer(families=EVERYTHING), read)


@pytest.mark.parametrize("width", [320, 390, 768])
def test_nothing_is_wider_than_the_screen(width: int, tmp_path: Path) -> None:
    async def narrow(page: Page, server: PageServer) -> None:
        await page.resize(width, 740)
        for number in range(len(set(EVERYTHING))):
            await page.click(f"[role=tab]:nth-of-type({number + 1})")
            assert await page.run("document.documentElement.scrollWidth") == width
            wide = (
                "[...document.querySelectorAll('button, select, a, canvas, textarea')].filter("
                "(e) => e.checkVisibility() && e.getBoundingClientRect().right > innerWidth).length"
            )
            assert await page.run(wide) == 0
            assert await page.run(SMALL) == []

    on_page(tmp_path, PageServer(families=EVERYTHING), narrow)


SMALL = (
    "[...document.querySelectorAll('button, select, a')].filter((e) => e.checkVisibility() && "
    "Math.min(e.offsetHeight, e.offsetWidth) < 24).map((e) => e.outerHTML)"
)
"""What a finger misses: WCAG 2.2 asks for 24 pixels at level AA."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_colors_are_distinguished(scheme: str, tmp_path: Path) -> None:
    async def look(page: Page, server: PageServer) -> None:
        await page.prefer(color_scheme=scheme)
        await page.see(".main")
        colors = {
            name: await page.run(
                f"getComputedStyle(document.documentElement).getPropertyValue('--{name}').trim()"
            )
            for name in set(re.findall(r"--([\w-]+):", (PAGE / "colors.css").read_text("utf-8")))
        }
        dark = luminance(colors["ground"]) < 0.2
        assert dark == (scheme == "dark")
        for front in ("ink", "faint", "accent"):
            for back in ("ground", "paper"):
                assert contrast(colors[front], colors[back]) > READABLE
        assert contrast(colors["on-accent"], colors["accent"]) > READABLE
        assert contrast(colors["trouble"], colors["trouble-ground"]) > READABLE

    on_page(tmp_path, PageServer(), look)


def luminance(color: str) -> float:
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_words_fade_in_only_where_motion_is_wanted(motion: str, pcm: Array, tmp_path: Path) -> None:
    async def listen(page: Page, server: PageServer) -> None:
        await page.prefer(reduced_motion=motion)
        await page.see(".main")
        await page.click(".main")
        await page.until("document.querySelector('.word')")
        style = "getComputedStyle(document.querySelector('.word')).animationName"
        assert await page.run(style) == ("none" if motion == "reduce" else "appear")

    server = PageServer(families=("hibiki",))
    on_page(tmp_path, server, listen, microphone=microphone(tmp_path, pcm))
