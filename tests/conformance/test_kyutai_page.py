"""Kyutai's own page, unmodified, given by `--static`: it receives French and shows English.

It is in no package registry: build `client` of kyutai-labs/moshi by `npm ci && npm run build`, and
name its `dist` by KYUTAI_PAGE.
"""

import asyncio
import os
from pathlib import Path

import pytest

pytest.importorskip("aiohttp", reason="the serve extra is not installed")

from support.browser import browser
from support.speech import say_aloud, whole
from support.virtual_card import padded
from test_moshi_client import ENGLISH, NUMBER

from benchmarks.served import served_process

PAGE = os.environ.get("KYUTAI_PAGE")
SETTINGS = {"textTopk": 1, "audioTopk": 1}
"""The likeliest, so that it says the same each time."""


@pytest.mark.skipif(PAGE is None, reason="Kyutai's page is not built: see KYUTAI_PAGE")
def test_kyutais_page_shows_the_translation(tmp_path: Path) -> None:
    spoken = whole(say_aloud(tmp_path / "spoken.wav", NUMBER, "fr"))
    french = padded(tmp_path / "french.wav", spoken, 1.0, 6.0)
    config = tmp_path / "server.toml"
    config.write_text('models = [{task = "hibiki"}]\n')

    async def talk(url: str) -> list[str]:
        async with browser(tmp_path, microphone=french) as page:
            await page.open(url)
            for name, value in SETTINGS.items():
                await page.run(f"localStorage.setItem({name!r}, {value})")
            await page.open(url)
            await page.until("document.querySelector('button')")
            buttons = "[...document.querySelectorAll('button')]"
            await page.run(f"{buttons}.find(one => one.innerText == 'Connect').id = 'connect'")
            await page.click("#connect")
            text = "document.body.innerText.replace(/\\s+/g, ' ')"
            await page.until(f"{text}.includes({ENGLISH!r})")
            if picture := os.environ.get("PICTURE"):
                await page.picture(Path(picture))
            return page.complaints

    with served_process("--config", config, "--static", str(PAGE)) as server:
        complaints = asyncio.run(talk(server.url.replace("127.0.0.1", "localhost")))
    assert not [said for said in complaints if "/api/" in said]
