"""Arrays in .npz files that strangers made: what does not hold is refused before it is expanded."""

import contextlib
import io
import random
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kyutai_onnx.runtime.npz import MOST_EXPANDED, read_arrays

ARRAYS: dict[str, Any] = {
    "codes": np.arange(24, dtype=np.int64).reshape(8, 3),
    "samples": np.int64(5000),
    "flags": np.array([True, False]),
    "wide": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
    "empty": np.zeros((4, 0), np.float16),
}


def npz(save: Callable[..., None] = np.savez, **arrays: Any) -> bytes:
    content = io.BytesIO()
    save(content, **(arrays or ARRAYS))
    return content.getvalue()


def entry(content: bytes, name: str = "codes.npy", method: int = zipfile.ZIP_STORED) -> bytes:
    """An archive with one entry of any content."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        archive.writestr(name, content)
    return made.getvalue()


def array_of(shape: str, dtype: str = "<i8", data: bytes = bytes(64)) -> bytes:
    """An .npy file whose header says anything."""
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def patched(content: bytes, local: int, central: int, value: bytes) -> bytes:
    """An archive with one field of its only entry changed, in both of its headers."""
    changed = bytearray(content)
    start = content.rindex(b"PK\x01\x02")
    changed[local : local + len(value)] = value
    changed[start + central : start + central + len(value)] = value
    return bytes(changed)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_come_back_as_they_were(save: Callable[..., None]) -> None:
    found = read_arrays(io.BytesIO(npz(save)))
    assert found.keys() == ARRAYS.keys()
    for name, array in found.items():
        assert (array.dtype, array.shape) == (ARRAYS[name].dtype, ARRAYS[name].shape)
        np.testing.assert_array_equal(array, ARRAYS[name])


WHOLE = array_of("(8,)")
REFUSED = {
    "empty": b"",
    "text": b"no arrays",
    "one_array": WHOLE,
    "cut": npz()[:-30],
    "shape_of_1e12": entry(array_of("(1000000000000,)")),
    "shape_below_0": entry(array_of("(-8, -1)")),
    "shape_of_33_axes": entry(array_of(str((1,) * 32 + (8,)))),
    "shape_too_small": entry(array_of("(7,)")),
    "objects": npz(codes=np.array([{}])),
    "texts": npz(codes=np.array(["a"])),
    "records": npz(codes=np.zeros(2, [("a", "i4")])),
    "bzip2": entry(WHOLE, method=zipfile.ZIP_BZIP2),
    "lzma": entry(WHOLE, method=zipfile.ZIP_LZMA),
    "unknown_method": patched(entry(WHOLE), 8, 10, struct.pack("<H", 99)),
    "encrypted": patched(entry(WHOLE), 6, 8, struct.pack("<H", 1)),
    "of_a_newer_version": patched(entry(WHOLE), 4, 6, struct.pack("<H", 99)),
    "broken_deflate": patched(
        entry(array_of("(8,)"), method=zipfile.ZIP_DEFLATED), 30 + len("codes.npy"), 4, b"\xff"
    ),
    "header_of_no_python": entry(array_of("(((((")),
    "deep_header": entry(array_of("(" * 5000 + ")" * 5000)),
    "no_array": entry(b"a text"),
    "array_of_a_newer_version": entry(b"\x93NUMPY\x09\x00" + WHOLE[8:]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_hold_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        read_arrays(io.BytesIO(REFUSED[name]))
    assert "\n" not in str(refused.value)


def test_a_bomb_is_refused_before_it_expands() -> None:
    bomb = patched(
        entry(array_of("(8,)"), method=zipfile.ZIP_DEFLATED),
        22,
        24,
        struct.pack("<I", MOST_EXPANDED + 1),
    )
    with pytest.raises(ValueError, match="expands to"):
        read_arrays(io.BytesIO(bomb))


def test_mutations_raise_nothing_else() -> None:
    chance = random.Random(3)
    valid = [npz(), npz(np.savez_compressed)]
    for _ in range(3000):
        content = bytearray(chance.choice(valid))
        for _ in range(chance.randint(1, 4)):
            content[chance.randrange(len(content))] = chance.choice(
                (0, 1, 255, chance.randrange(256))
            )
        with contextlib.suppress(ValueError):
            read_arrays(io.BytesIO(bytes(content)))


def test_a_cause_is_short_whatever_it_quotes() -> None:
    """Of an entry whose name differs from the directory's, zipfile quotes both."""
    name = "a" * 5000
    content = bytearray(entry(array_of("(1,)"), f"{name}.npy"))
    content[content.index(b"a" * 100)] = ord("b")
    with pytest.raises(ValueError, match="File name") as refused:
        read_arrays(io.BytesIO(bytes(content)))
    assert len(str(refused.value)) <= 200
