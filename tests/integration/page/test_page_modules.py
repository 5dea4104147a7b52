"""The web page's modules one by one, against what others make of the same bytes and samples."""

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.speech import RATE, Array

pytest.importorskip("aiohttp")
pytest.importorskip("av")
pytest.importorskip("msgpack")

import av
import msgpack
from support.browser import Page, browser
from support.page_server import PageServer, serving, tone

Run = Callable[[str], Any]

HELPERS = """
const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const text = (found) => btoa(Array.from(found, (byte) => String.fromCharCode(byte)).join(""));
const floats = (text) => new Float32Array(bytes(text).buffer);
const pieces = (all, size) => {
  const found = [];
  for (let at = 0; at < all.length; at += size) found.push(all.slice(at, at + size));
  return found;
};
const joined = (parts) => {
  const pcm = Float32Array.from(parts.flatMap((part) => [...part]));
  return text(new Uint8Array(pcm.buffer));
};
const raises = (act) => { try { act(); } catch (error) { return error.name; } };
"""

VALUES: list[Any] = [
    {"type": "Audio", "pcm": [0.5, -1.0]},
    {"type": "Word", "text": "réveil ⏰", "start_time": 0.56},
    *(0, 1, 127, 128, 255, 256, 65535, 65536, 2**31, 2**40, -1, -32, -33, -128, -129, -(2**31)),
    *(-(2**40), 0.1, -1e300, True, False, None, "", "x" * 31, "x" * 32, "x" * 255, "x" * 256),
    *("x" * 70000, [], [[]] * 15, list(range(16)), list(range(66000)), {}),
    {str(number): number for number in range(20)},
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Runs a script in the page, with `server/page`'s modules to be imported, and returns what it
    returns."""
    with asyncio.Runner() as runner:
        on_page = _module_page(tmp_path_factory.mktemp("modules"))
        page = runner.run(anext(on_page))
        yield lambda script: runner.run(page.run(f"(async () => {{ {HELPERS} {script} }})()"))
        runner.run(on_page.aclose())


async def _module_page(folder: Path) -> AsyncIterator[Page]:
    async with serving(PageServer()) as server, browser(folder) as page:
        await page.open(server.address)
        yield page


def packed(content: bytes | Array) -> str:
    content = content if isinstance(content, bytes) else content.astype("<f4").tobytes()
    return f"'{base64.b64encode(content).decode()}'"


def unpacked(content: str) -> Array:
    return np.frombuffer(base64.b64decode(content), "<f4")


def loudest(pcm: Array, rate: int) -> float:
    """The frequency that a sound has most of."""
    spectrum = np.abs(np.fft.rfft(pcm * np.hanning(len(pcm))))
    return float(spectrum.argmax() * rate / len(pcm))


def test_messages_are_read_as_others_write_them(run: Run) -> None:
    content = ", ".join(packed(msgpack.packb(value)) for value in VALUES)
    found = run(
        "const { unpack } = await import('./messagepack.js');"
        f"return JSON.stringify([{content}].map((each) => unpack(bytes(each))))"
    )
    assert json.loads(found) == VALUES


def test_messages_are_written_as_others_read_them(run: Run) -> None:
    found = run(
        "const { pack } = await import('./messagepack.js');"
        f"return {json.dumps(VALUES)}.map((each) => text(pack(each)))"
    )
    assert [msgpack.unpackb(base64.b64decode(each)) for each in found] == VALUES


@pytest.mark.parametrize("count", [0, 1, 15, 16, 1920, 70000])
def test_samples_are_written_as_single_floats(count: int, run: Run) -> None:
    pcm = tone(0, count)
    found = run(
        "const { pack } = await import('./messagepack.js');"
        f"return text(pack({{ type: 'Audio', pcm: floats({packed(pcm)}) }}))"
    )
    expected = msgpack.packb({"type": "Audio", "pcm": pcm.tolist()}, use_single_float=True)
    assert base64.b64decode(found) == expected


def test_bytes_and_single_floats_are_read(run: Run) -> None:
    content = msgpack.packb({"data": bytes(range(256)), "pcm": [0.25]}, use_single_float=True)
    found = run(
        "const { unpack } = await import('./messagepack.js');"
        f"const {{ data, pcm }} = unpack(bytes({packed(content)})); return [[...data], pcm]"
    )
    assert found == [list(range(256)), [0.25]]


@pytest.mark.parametrize("content", [b"", b"\xa5ab", b"\x92\x01", b"\xc1", b"\xdd\xff\xff\xff\xff"])
def test_damaged_messages_are_refused(content: bytes, run: Run) -> None:
    assert (
        run(
            "const { unpack } = await import('./messagepack.js');"
            f"return raises(() => unpack(bytes({packed(content)})))"
        )
        == "RangeError"
    )


def test_speech_is_written_as_ogg_opus(run: Run) -> None:
    found = run(
        "const { OpusWriter } = await import('./opus.js'); const pages = [];"
        "const writer = new OpusWriter((page) => pages.push(...page), (error) => { throw error });"
        f"const pcm = floats({packed(tone(0, 2 * RATE))});"
        "for (const piece of pieces(pcm, 1920)) writer.write(piece);"
        "await new Promise((done) => setTimeout(done, 500)); writer.close(); return text(pages)"
    )
    content = base64.b64decode(found)
    with av.open(io.BytesIO(content), format="ogg") as container:
        assert container.streams.audio[0].codec_context.name in {"opus", "libopus"}
        recognized = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    assert len(recognized) == pytest.approx(2 * 48000, abs=48000 * 0.05)
    assert loudest(recognized, 48000) == pytest.approx(440, abs=2)
    assert np.abs(recognized[4800:]).max() == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize("size", [1, 100, 100000])
def test_ogg_opus_is_read_however_it_is_cut(size: int, run: Run) -> None:
    found = run(
        "const { OpusReader } = await import('./opus.js'); const heard = []; let rate;"
        "const reader = new OpusReader((pcm, at) => { heard.push(pcm); rate = at },"
        "  (error) => { throw error });"
        f"for (const piece of pieces(bytes({packed(ogg_opus(1))}), {size})) reader.feed(piece);"
        "await new Promise((done) => setTimeout(done, 500)); reader.close();"
        "return [joined(heard), rate]"
    )
    recognized, rate = unpacked(found[0]), found[1]
    assert len(recognized) / rate == pytest.approx(1, abs=0.05)
    assert loudest(recognized, rate) == pytest.approx(440, abs=2)


def ogg_opus(seconds: float) -> bytes:
    """A tone."""
    content = io.BytesIO()
    with av.open(content, "w", format="ogg") as container:
        stream = container.add_stream("libopus", rate=48000, layout="mono")
        times = np.arange(int(seconds * 48000)) / 48000
        pcm = (0.3 * np.sin(2 * np.pi * 440 * times)).astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(pcm, format="flt", layout="mono")
        frame.sample_rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return content.getvalue()


@pytest.mark.parametrize("harm", ["not Ogg at all", "a flipped bit"])
def test_what_is_not_ogg_is_refused(harm: str, run: Run) -> None:
    content = bytearray(ogg_opus(0.1))
    if harm == "a flipped bit":
        content[-10] ^= 1
    else:
        content[:4] = b"RIFF"
    assert (
        run(
            "const { PacketReader } = await import('./ogg.js');"
            f"return raises(() => new PacketReader().feed(bytes({packed(bytes(content))})))"
        )
        == "RangeError"
    )


def resampled(run: Run, pcm: Array, rates: tuple[int, int], size: int = 128) -> Array:
    return unpacked(
        run(
            "const { Resampler } = await import('./resampler.js');"
            f"const resampler = new Resampler({rates[0]}, {rates[1]});"
            f"return joined(pieces(floats({packed(pcm)}), {size}).map((p) => resampler.feed(p)))"
        )
    )


def sine(frequency: float, rate: int, seconds: float = 1) -> Array:
    times = np.arange(int(seconds * rate)) / rate
    return np.sin(2 * np.pi * frequency * times).astype(np.float32)


@pytest.mark.parametrize("size", [1, 128, 5000])
@pytest.mark.parametrize("rates", [(48000, RATE), (44100, RATE), (16000, RATE), (RATE, 44100)])
def test_a_tone_keeps_its_shape_at_another_rate(
    rates: tuple[int, int], size: int, run: Run
) -> None:
    found = resampled(run, sine(1000, rates[0]), rates, size)
    assert len(found) == pytest.approx(rates[1], abs=100)
    inner = slice(200, len(found) - 200)
    assert np.abs(found - sine(1000, rates[1], 2)[: len(found)])[inner].max() < 1e-3


@pytest.mark.parametrize("frequency", [13000, 18000, 23000])
def test_what_the_slower_rate_cannot_hold_is_taken_out(frequency: float, run: Run) -> None:
    found = resampled(run, sine(frequency, 48000), (48000, RATE))
    assert np.abs(found[200:-200]).max() < 1e-3


def test_the_same_rate_changes_nothing(run: Run) -> None:
    pcm = sine(1000, RATE)
    assert np.array_equal(resampled(run, pcm, (RATE, RATE)), pcm)


JITTER = """
const { Jitter } = await import('./jitter.js');
const rate = 24000, block = new Float32Array(240);
const fill = (jitter) => { block.fill(0); jitter.fill(block); return block[0]; };
const sound = (seconds, level = 0.5) => new Float32Array(seconds * rate).fill(level);
"""


def test_sound_begins_when_enough_is_there_and_ends_when_all_is_played(run: Run) -> None:
    found = run(
        JITTER
        + "const jitter = new Jitter(rate, 0.1, false); const seen = [];"
        + "jitter.feed(sound(0.09), rate); seen.push(fill(jitter));"
        + "jitter.feed(sound(0.02), rate); seen.push(fill(jitter)); jitter.end();"
        + "for (let i = 0; i < 9; i++) seen.push(fill(jitter)); seen.push(jitter.done);"
        + "seen.push(fill(jitter), jitter.done, jitter.played, jitter.gaps); return seen"
    )
    assert found == [0, *([0.5] * 10), False, 0.5, True, 0.11 * RATE, 0]


def test_sound_that_runs_dry_waits_for_more_than_before(run: Run) -> None:
    found = run(
        JITTER
        + "const jitter = new Jitter(rate, 0.1, false); jitter.feed(sound(0.1), rate);"
        + "for (let i = 0; i < 11; i++) fill(jitter); const seen = [jitter.gaps];"
        + "jitter.feed(sound(0.12), rate); seen.push(fill(jitter));"
        + "jitter.feed(sound(0.04), rate); seen.push(fill(jitter)); return seen"
    )
    assert found == [1, 0, 0.5]


@pytest.mark.parametrize("live", [True, False])
def test_a_live_sound_that_is_late_is_cut_in_its_silences_alone(live: bool, run: Run) -> None:
    live_too = "true" if live else "false"
    found = run(
        JITTER
        + f"const jitter = new Jitter(rate, 0.1, {live_too}); const seen = [];"
        + "jitter.feed(sound(0.5), rate); jitter.feed(sound(1, 0.001), rate);"
        + "jitter.feed(sound(0.1), rate); jitter.end(); let blocks = 0;"
        + "for (; !jitter.done; blocks++) seen.push(fill(jitter));"
        + "return [seen.filter((each) => each === 0.5).length, blocks]"
    )
    assert found[0] == 60
    assert found[1] == 160 if not live else 75 < found[1] < 90


def test_sound_of_another_rate_is_played_at_that_of_the_device(run: Run) -> None:
    played = run(
        JITTER
        + "const jitter = new Jitter(rate, 0, false); jitter.feed(sound(1), 48000); jitter.end();"
        + "while (!jitter.done) fill(jitter); return jitter.played"
    )
    assert played == pytest.approx(RATE / 2, abs=50)
