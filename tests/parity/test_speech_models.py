"""Hibiki and Moshi with random weights, as a person uses them: streams, seeds, pipes, faults."""

import json
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from support.bundles import MANIFEST
from support.commands import Command, command_line, run_apart
from support.parity.fixtures import Bundles
from support.speech import wav_bytes, write_wav
from support.voices import voices

from kyutai_onnx.models import Audio, Event, Hibiki, Moshi
from kyutai_onnx.models.batch import Stream
from kyutai_onnx.models.speech_to_speech.model import SpeechResult
from kyutai_onnx.runtime.errors import ModelError, UsageError
from kyutai_onnx.runtime.state_file import read_state, write_state

Array = np.ndarray[Any, Any]
RATE, SIZE = 24000, 1920
posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and pipes of POSIX")


@pytest.fixture(scope="module")
def hibiki(bundle: Bundles) -> Hibiki:
    return Hibiki.load(bundle("wide", "hibiki"))


@pytest.fixture(scope="module")
def moshi(bundle: Bundles) -> Moshi:
    return Moshi.load(bundle("wide", "moshi"))


@pytest.fixture(scope="module")
def pcm() -> Array:
    samples: Array = voices(1, 40 * SIZE, RATE, seed=6)[0]
    return samples


@pytest.fixture
def source(pcm: Array, tmp_path: Path) -> Path:
    return write_wav(tmp_path / "source.wav", pcm)


def reported(events: list[Event]) -> tuple[str, list[object], Array]:
    said = SpeechResult()
    said.take(events)
    return said.text, [*said.words], said.pcm


def assert_same(first: list[Event], second: list[Event]) -> None:
    (text, words, pcm), other = reported(first), reported(second)
    assert (text, words) == other[:2]
    assert text
    np.testing.assert_allclose(pcm, other[2], atol=1e-5)


def recognized(stream: Stream[Any], pcm: Array, size: int) -> list[Event]:
    return [e for i in range(0, len(pcm), size) for e in stream.feed(pcm[i : i + size])]


@pytest.mark.parametrize("size", [700, SIZE, 9 * SIZE + 3])
def test_pieces_of_any_size_make_the_same(hibiki: Hibiki, pcm: Array, size: int) -> None:
    whole = hibiki.stream(seed=1, max_tail=1.0)
    pieces = hibiki.stream(seed=1, max_tail=1.0)
    expected = [*whole.feed(pcm), *whole.flush()]
    assert_same([*recognized(pieces, pcm, size), *pieces.flush()], expected)
    translation = hibiki.translate(pcm, seed=1, max_tail=1.0)
    assert translation.text == reported(expected)[0]
    assert len(translation.pcm) == len(reported(expected)[2])


@pytest.mark.parametrize("cfg_coef", [1.0, 3.0])
def test_a_stream_saved_in_a_file_goes_on_exactly(
    hibiki: Hibiki, pcm: Array, cfg_coef: float, tmp_path: Path
) -> None:
    first = hibiki.stream(seed=2, cfg_coef=cfg_coef, max_tail=1.0)
    first.feed(pcm[: 33 * SIZE - 50])
    write_state(tmp_path / "state.npz", first.save())
    second = hibiki.stream(max_tail=1.0)
    second.load(read_state(tmp_path / "state.npz"))
    third = first.fork()
    first.feed(pcm)
    rest = pcm[33 * SIZE - 50 :]
    assert_same(
        [*second.feed(rest), *second.flush()],
        [*third.feed(rest), *third.flush()],
    )
    again = hibiki.stream(seed=2, cfg_coef=cfg_coef, max_tail=1.0)
    whole = reported([*again.feed(pcm), *again.flush()])[2]
    second.load(read_state(tmp_path / "state.npz"))
    tail = reported([*second.feed(rest), *second.flush()])[2]
    np.testing.assert_allclose(tail, whole[-len(tail) :], atol=1e-5)


def test_a_reset_stream_starts_over(moshi: Moshi, pcm: Array) -> None:
    stream = moshi.stream(seed=3)
    first = [*stream.feed(pcm), *stream.flush()]
    stream.reset()
    assert_same([*stream.feed(pcm), *stream.flush()], first)
    assert sum(isinstance(event, Audio) for event in first) == 40


def test_a_seed_repeats_and_another_does_not(moshi: Moshi, pcm: Array) -> None:
    one, two, other = (moshi.reply(pcm, seed=seed) for seed in (4, 4, 5))
    assert one.text == two.text != other.text
    np.testing.assert_array_equal(one.pcm, two.pcm)


def test_threads_share_a_model(moshi: Moshi, pcm: Array) -> None:
    alone = [moshi.reply(pcm, seed=seed).text for seed in range(4)]
    with ThreadPoolExecutor(4) as threads:
        together = threads.map(lambda seed: moshi.reply(pcm, seed=seed).text, range(4))
    assert list(together) == alone
    assert len(set(alone)) == 4


def test_a_stream_of_other_weights_is_refused(moshi: Moshi, hibiki: Hibiki) -> None:
    with pytest.raises(UsageError, match="not a hibiki one"):
        hibiki.stream().load(moshi.stream().save())


def test_zero_has_no_guidance(bundle: Bundles) -> None:
    zero = Hibiki.load(bundle("wide", "hibiki-zero"))
    with pytest.raises(UsageError, match="description"):
        zero.stream(cfg_coef=3.0)


def test_a_bundle_without_a_decoder_is_refused(bundle: Bundles, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(bundle("wide", "moshi").path, folder)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["codec"]["decoder"] = []
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match="no decoder"):
        Moshi.load(folder)
    with pytest.raises(ModelError, match="hibiki"):
        Hibiki.load(folder)


def test_live_listening_says_what_the_file_command_says(
    command: Command, bundle: Bundles, source: Path, tmp_path: Path
) -> None:
    model = ("--model", bundle("wide", "moshi").path, "--seed", 8, "-q")
    files = [tmp_path / "chat.wav", tmp_path / "stream.wav"]
    chat = command("chat", source, files[0], *model)
    live = command(
        "stream", "--input-file", source, "--save-output", files[1], "--rate", 100, *model
    )
    assert (chat.code, live.code) == (0, 0)
    assert live.out == chat.out != "\n"
    (pcm, _), (dithered, _) = (soundfile.read(path) for path in files)
    np.testing.assert_allclose(dithered, pcm, atol=2**-14)
    lines = command("stream", "--input-file", source, "--rate", 100, "-f", "jsonl", *model).out
    assert '"type": "text"' in lines
    assert '"type": "word"' in lines
    for option in (["--vad"], ["--cfg-coef", "2"]):
        refused = command("stream", "--input-file", source, *option, *model)
        assert refused.code == 2
        assert option[0] in refused.error


@posix
@pytest.mark.parametrize("where", ["text", "sound"])
def test_a_reader_that_has_gone_is_no_error(
    bundle: Bundles, source: Path, tmp_path: Path, where: str
) -> None:
    out = str(tmp_path / "out.wav") if where == "text" else "-"
    nobody, into = os.pipe()
    os.close(nobody)
    try:
        model = bundle("wide", "moshi").path
        done = run_apart("chat", source, out, "--model", model, "-q", stdout=into)
    finally:
        os.close(into)
    assert done.code == 0
    if where == "text":
        assert done.err == ""
        assert soundfile.info(out).frames == 40 * SIZE


@posix
def test_an_interrupt_leaves_a_valid_file(bundle: Bundles, pcm: Array, tmp_path: Path) -> None:
    out = tmp_path / "out.wav"
    arguments = command_line("chat", "-", out, "--model", bundle("wide", "moshi").path)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(arguments, **pipes) as process:  # type: ignore[call-overload]
        process.stdin.write(wav_bytes(pcm))
        process.stdin.flush()
        assert process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.decode().splitlines()[-1].startswith("interrupted after ")
    assert soundfile.info(out).frames % SIZE == 0
    assert soundfile.read(out)[0].any()
