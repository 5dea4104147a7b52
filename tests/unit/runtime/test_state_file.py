"""A saved stream goes into a file and comes back as it was."""

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.saved_streams import assert_same
from support.speech import Array

from kyutai_onnx.models import SpeechToText
from kyutai_onnx.runtime.errors import KyutaiOnnxError, ModelError
from kyutai_onnx.runtime.state_file import META, read_state, write_state

STATE: dict[str, Any] = {
    "model": "toy",
    "led": True,
    "start": None,
    "tokens": [3, -2, 7],
    "lag": 0.1 + 0.2,
    "noise": {"state": {"state": 2**127 + 1, "inc": 5}, "bit_generator": "PCG64"},
    "graph": {
        "offset": np.array(12, np.int64),
        "layers.0.keys": np.arange(6, dtype=np.float32).reshape(1, 3, 2),
        "empty": np.zeros((4, 0), np.float16),
        "inner": {"keys": np.array([True, False])},
    },
    "pending": np.array([0.1, -0.2], np.float32),
}


@pytest.mark.parametrize("name", ["stream.npz", "stream", "stream.state"])
def test_a_state_comes_back_as_it_was(name: str, tmp_path: Path) -> None:
    write_state(tmp_path / name, STATE)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert_same(STATE, read_state(tmp_path / name))


def test_a_stream_goes_on_from_a_file(model: SpeechToText, pcm: Array, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"temperature": 0.9, "seed": 4}
    whole, first, second = (model.stream(**settings) for _ in range(3))
    half = len(pcm) // 2 + 123
    events = whole.feed(pcm[:half])
    assert first.feed(pcm[:half]) == events
    write_state(tmp_path / "stream.npz", first.save())
    second.load(read_state(tmp_path / "stream.npz"))
    ending = [*whole.feed(pcm[half:]), *whole.flush()]
    assert [*second.feed(pcm[half:]), *second.flush()] == ending
    assert len(ending) > 0
    assert_same(whole.save(), second.save())


def damaged(content: bytes) -> bytes:
    """The same with one byte of an array changed."""
    place = content.index(np.arange(6, dtype=np.float32).tobytes()) + 5
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def test_what_is_no_saved_stream_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "stream.npz"
    write_state(file, STATE)
    content = file.read_bytes()
    np.save(tmp_path / "array.npy", np.arange(3))
    np.savez(tmp_path / "arrays.npz", keys=np.arange(3))
    for name, text in (("list", b"[1]"), ("deep", b'{"a":' * 100_000), ("odd", b'{"a": NaN}')):
        np.savez(tmp_path / f"{name}.npz", **{META: np.frombuffer(text, np.uint8)})
    promised = {META: np.frombuffer(b'{"a": {"kyutai-onnx": "array"}}', np.uint8)}
    np.savez(tmp_path / "promised.npz", **promised)
    contents = {
        "empty": b"",
        "text": b"a text",
        "half": content[: len(content) // 2],
        "damaged": damaged(content),
        **{path.name: path.read_bytes() for path in tmp_path.glob("*array*")},
        **{n: (tmp_path / f"{n}.npz").read_bytes() for n in ("list", "deep", "odd", "promised")},
    }
    assert len(contents) == 10
    for name, bad in contents.items():
        file.write_bytes(bad)
        with pytest.raises(ModelError, match="not a saved stream") as refused:
            read_state(file)
        assert "\n" not in str(refused.value), name


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.npz: not a saved stream"):
        read_state(tmp_path / "none.npz")


def test_a_disk_that_takes_nothing_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", refuse)
    with pytest.raises(KyutaiOnnxError, match="cannot be written "):
        write_state(tmp_path / "stream.npz", STATE)
