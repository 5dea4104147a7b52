"""Pages of other sites in a browser, which use OpenAI's client: only those that `--cors` names."""

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest
from support.speech import Array, wav_bytes

pytest.importorskip("aiohttp")
pytest.importorskip("av")
pytest.importorskip("msgpack")

from support.browser import browser
from support.page_server import PageServer, serving
from support.serving import STT, running

SENT = {
    "Accept": "application/json",
    "OpenAI-Organization": "org",
    "OpenAI-Project": "proj",
    "X-Stainless-Arch": "unknown",
    "X-Stainless-Lang": "js",
    "X-Stainless-OS": "Unknown",
    "X-Stainless-Package-Version": "6.9.0",
    "X-Stainless-Retry-Count": "0",
    "X-Stainless-Runtime": "browser:chrome",
    "X-Stainless-Runtime-Version": "140.0.0",
    "X-Stainless-Timeout": "600",
}
"""What openai 6 for JavaScript sends in a browser, besides its key."""
FETCH = """(async () => {
  const bytes = Uint8Array.from(atob(AUDIO), (each) => each.charCodeAt(0));
  const body = new FormData();
  body.append("file", new Blob([bytes], {type: "audio/wav"}), "speech.wav");
  body.append("model", "whisper-1");
  try {
    const answer = await fetch(URL_OF_SERVER, {method: "POST", headers: HEADERS, body});
    return [answer.status, await answer.json()];
  } catch (error) {
    return [0, error.name];
  }
})()"""


def fetched(folder: Path, pcm: Array, *, allowed: str | None, key: str = "sesame") -> Any:
    """Status and content of a request of a page, whose site is `ORIGIN` in the site that the server
    allows; status 0 if the browser refuses it."""

    async def visit(site: PageServer) -> Any:
        cors = (allowed.replace("ORIGIN", site.address.rstrip("/")),) if allowed else ()
        with running(STT, api_keys=("sesame",), cors=cors) as server:
            headers = {**SENT, "Authorization": f"Bearer {key}"}
            values = {
                "AUDIO": base64.b64encode(wav_bytes(pcm)).decode(),
                "URL_OF_SERVER": f"{server.url}/v1/audio/transcriptions",
                "HEADERS": headers,
            }
            script = FETCH
            for name, value in values.items():
                script = script.replace(name, json.dumps(value), 1)
            async with browser(folder) as page:
                await page.open(f"{site.address}v1/models")
                return await page.run(script)

    async def go() -> Any:
        async with serving(PageServer(families=("stt",))) as site:
            return await visit(site)

    return asyncio.run(go())


def test_a_page_of_an_allowed_site_transcribes(tmp_path: Path, pcm: Array, text: str) -> None:
    status, content = fetched(tmp_path, pcm, allowed="ORIGIN")
    assert (status, content["text"]) == (200, text)


def test_a_page_of_an_allowed_site_reads_errors(tmp_path: Path, pcm: Array) -> None:
    status, content = fetched(tmp_path, pcm, allowed="ORIGIN", key="wrong")
    assert (status, content["error"]["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize("allowed", [None, "ORIGIN0", "https://example.org"])
def test_no_other_page_does(tmp_path: Path, pcm: Array, allowed: str | None) -> None:
    assert fetched(tmp_path, pcm, allowed=allowed) == [0, "TypeError"]
