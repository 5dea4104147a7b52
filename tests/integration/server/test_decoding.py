"""Strangers' audio is decoded in processes of its own: what goes wrong there is one client's."""

import asyncio
import io
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.decoder_jobs import (
    Allocate,
    Boast,
    Crash,
    Doze,
    Echo,
    Flood,
    Sleep,
    Work,
    jobs,
    processes,
    spec,
)
from support.paths import ROOT, TESTS
from support.recordings import FILMS, SOUNDS, film, tone

from kyutai_onnx.runtime.audio import Pcm, read_audio
from kyutai_onnx.runtime.errors import AudioError
from kyutai_onnx.server.decoding import Decoders, OpusStream, RecordingDecoder
from kyutai_onnx.server.decoding.decoders import DecoderLost, Forking, Spawning
from kyutai_onnx.server.decoding.worker import ANSWER, FLAG, HEADER, REQUEST
from kyutai_onnx.server.engine.events import Busy
from kyutai_onnx.server.limits import Limits
from kyutai_onnx.server.wire import ProtocolError
from kyutai_onnx.server.wire.ogg_opus import OpusDecoder, OpusEncoder

RATE = 24000
SECONDS = 60.0
"""After which a test gives up."""
forked = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")
STARTERS = [pytest.param(Forking, marks=forked, id="forked"), pytest.param(Spawning, id="spawned")]


@asynccontextmanager
async def decoding(most: int = 4, **options: Any) -> AsyncIterator[Decoders]:
    decoders = Decoders(Limits(uploads=most, wait=0.0), 0, **options)
    try:
        async with asyncio.timeout(SECONDS):
            yield decoders
    finally:
        await decoders.stop()


def run(test: Callable[[Decoders], Coroutine[Any, Any, None]], **options: Any) -> None:
    async def running() -> None:
        async with decoding(**options) as decoders:
            await test(decoders)

    asyncio.run(running())
    if sys.platform == "linux":
        assert processes() == {}


async def decoded(decoders: Decoders, file: Any) -> Pcm:
    with RecordingDecoder(decoders, file, RATE) as recording:
        await recording.open()
        blocks = []
        while (block := await recording.read()) is not None:
            blocks.append(block)
    return np.concatenate(blocks)


@pytest.mark.parametrize("starter", STARTERS)
def test_recordings_are_decoded_as_in_this_process(
    tmp_path: Path, starter: type[Forking | Spawning]
) -> None:
    recordings = SOUNDS + FILMS
    if starter is Spawning:
        recordings = recordings[::5]
    long = film(tmp_path / "long", tone(48000, 12.0), 48000, "matroska", "libopus")

    async def test(decoders: Decoders) -> None:
        for data in recordings:
            expected = np.concatenate(list(read_audio(io.BytesIO(data), RATE)))
            np.testing.assert_array_equal(await decoded(decoders, io.BytesIO(data)), expected)
        with long.open("rb") as file:
            expected = np.concatenate(list(read_audio(long, RATE)))
            np.testing.assert_array_equal(await decoded(decoders, file), expected)

    run(test, starter=starter())


@pytest.mark.parametrize("starter", STARTERS)
def test_a_stream_of_opus_is_decoded_as_in_this_process(starter: type[Forking | Spawning]) -> None:
    encoder, here = OpusEncoder(), OpusDecoder()

    async def test(decoders: Decoders) -> None:
        with OpusStream(decoders) as there:
            for _ in range(20):
                pages = encoder.push(tone(RATE, 0.1))
                np.testing.assert_array_equal(await there.push(pages), here.push(pages))
            assert not there.ended
            pages = encoder.end()
            np.testing.assert_array_equal(await there.push(pages), here.push(pages))
            assert there.ended

    run(test, starter=starter())


def test_what_is_no_audio_is_named_without_its_place(tmp_path: Path) -> None:
    path = tmp_path / "secret.wav"
    path.write_bytes(b"no audio at all")

    async def test(decoders: Decoders) -> None:
        for file in (io.BytesIO(b"no audio at all"), path.open("rb")):
            with file, pytest.raises(AudioError, match="the audio") as caught:
                await decoded(decoders, file)
            assert "secret" not in str(caught.value)
        with OpusStream(decoders) as stream, pytest.raises(ProtocolError, match="no page"):
            await stream.push(b"RIFF")

    run(test)


@pytest.mark.parametrize("job", [Crash, Sleep, Work, Boast])
@forked
def test_a_process_that_fails_is_ended_and_no_other(job: type) -> None:
    async def test(decoders: Decoders) -> None:
        with await decoders.open(spec(Echo)) as other:
            assert await other.ask(b"x") == b"x"
            decoders.patience = 0.5 if job is Sleep else SECONDS
            with await decoders.open(spec(job, processor=1)) as bad, pytest.raises(DecoderLost):
                await bad.ask(b"x")
            decoders.patience = SECONDS
            assert await other.ask(b"still", b" here") == b"still here"

    run(test)


@forked
def test_memory_is_bounded() -> None:
    async def test(decoders: Decoders) -> None:
        greedy = await decoders.open(spec(Allocate))
        with greedy, pytest.raises(AudioError, match="MemoryError"):
            await greedy.ask()

    run(test)


@forked
def test_what_libraries_print_goes_nowhere(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "kyutai_onnx.server.decoding")

    async def test(decoders: Decoders) -> None:
        with await decoders.open(spec(Flood)) as loud:
            assert await loud.ask(b"x") == b"x"

    run(test)
    assert capfd.readouterr() == ("", "")
    assert len(caplog.text) < 1 << 16


@forked
def test_there_is_room_for_so_many() -> None:
    async def test(decoders: Decoders) -> None:
        with await decoders.open(spec(Echo)):
            with pytest.raises(Busy):
                await decoders.open(spec(Echo))
            with OpusStream(decoders) as stream, pytest.raises(Busy):
                await stream.push(b"x")
        with await decoders.open(spec(Echo)) as next_one:
            assert await next_one.ask(b"x") == b"x"

    run(test, most=1)


@forked
def test_a_client_that_leaves_gives_its_room_back() -> None:
    async def test(decoders: Decoders) -> None:
        with await decoders.open(spec(Sleep)) as decoder:
            asking = asyncio.create_task(decoder.ask(b"x"))
            await asyncio.sleep(0)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            with await decoders.open(spec(Echo)) as other:
                assert await other.ask(b"x") == b"x"

    run(test, most=1)


@forked
def test_the_process_that_forks_may_end_too() -> None:
    async def test(decoders: Decoders) -> None:
        with await decoders.open(spec(Echo)) as before:
            assert await before.ask(b"x") == b"x"
            (nursery,) = (pid for pid, parent in processes().items() if parent == os.getpid())
            os.kill(nursery, signal.SIGKILL)
            os.waitid(os.P_PID, nursery, os.WEXITED | os.WNOWAIT)
            assert await before.ask(b"y") == b"y"
            with await decoders.open(spec(Echo)) as after:
                assert await after.ask(b"z") == b"z"

    run(test)


@forked
def test_a_job_ends_without_the_process_that_forked_it() -> None:
    """It is asleep: nothing that it does would end it."""

    async def test(decoders: Decoders) -> None:
        stuck = await decoders.open(spec(Doze))
        assert await stuck.ask(b"x") == b"x"
        asked = asyncio.create_task(stuck.ask(b"x"))
        (job,) = jobs()
        ended = os.pidfd_open(job)
        (nursery,) = (pid for pid, parent in processes().items() if parent == os.getpid())
        os.kill(nursery, signal.SIGKILL)
        os.waitid(os.P_PID, nursery, os.WEXITED | os.WNOWAIT)
        await asyncio.sleep(0)
        stuck.close()
        with pytest.raises(DecoderLost):
            await asked
        await readable(ended)

    run(test)


async def readable(descriptor: int) -> None:
    """Waits, then closes it."""
    loop, found = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, found.set)
    await found.wait()
    loop.remove_reader(descriptor)
    os.close(descriptor)


@forked
def test_decoders_are_loaded_before_they_are_needed() -> None:
    async def test(decoders: Decoders) -> None:
        await decoders.prepare()
        (nursery,) = processes()
        with await decoders.open(spec(Echo)) as decoder:
            assert await decoder.ask(b"x") == b"x"
            assert nursery in processes()

    run(test)


@forked
def test_no_process_is_left_behind() -> None:
    async def test(decoders: Decoders) -> None:
        opened = [await decoders.open(spec(job)) for job in (Sleep, Work, Echo)]
        asked = [asyncio.create_task(decoder.ask(b"x")) for decoder in opened[:2]]
        assert await opened[2].ask(b"x") == b"x"
        assert len(jobs()) == 3
        await decoders.stop()
        for asking in asked:
            with pytest.raises(DecoderLost):
                await asking

    run(test)


def test_a_packed_application_is_such_a_process() -> None:
    done = subprocess.run(
        [sys.executable, "bundling/start_cli.py", FLAG, spec(Echo).pack()],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        input=HEADER.pack(REQUEST, 5) + b"hello",
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, HEADER.pack(ANSWER, 5) + b"hello")
