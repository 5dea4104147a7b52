import struct

import pytest

pytest.importorskip("torch", reason="the export needs torch")

import numpy as np
import torch
from support.checkpoints import MOSHI, Json, candle, fused, random_lm, write_folder
from support.sources import (
    BLOCK_KINDS,
    READING,
    TALKING,
    TRANSCRIBING,
    TRANSLATING,
    GgufTensor,
    assert_read_back,
    gguf_bytes,
    gguf_quantized,
    gguf_text,
    plain_gguf,
    worst,
    write_gguf,
)

from kyutai_onnx.conversion.checkpoint.checkpoint import Checkpoint, open_checkpoint
from kyutai_onnx.conversion.checkpoint.config import RepositoryConfig
from kyutai_onnx.conversion.checkpoint.gguf_file import GgufFile
from kyutai_onnx.runtime.errors import ModelError

NAME = "model.q8.gguf"
TABLE = torch.arange(192, dtype=torch.float32).reshape(3, 64) - 90


def opened(folder, values: Json, tensors: dict[str, GgufTensor], **options: str) -> Checkpoint:
    write_folder(folder, values, {})
    (folder / "model.safetensors").unlink()
    write_gguf(folder / NAME, tensors)
    return open_checkpoint(str(folder), **options)


@pytest.mark.parametrize("values", [TALKING, TRANSLATING, READING, MOSHI])
def test_candles_blocks_are_multiplied_out(tmp_path, values):
    values = values | {"model_type": "moshi", "moshi_name": NAME}
    state = random_lm(values)
    tensors, written = gguf_quantized(candle(state, values))
    lm = opened(tmp_path, values, tensors).lm
    assert_read_back(lm, written, state, values)
    assert lm is not None
    assert lm.dtype("text_linear.weight") == "U8"
    assert worst(lm, state) < 1 / 254 + 2**-11


def test_a_model_that_only_transcribes_is_read(tmp_path):
    state = random_lm(TRANSCRIBING)
    tensors, written = gguf_quantized(fused(state))
    assert_read_back(opened(tmp_path, TRANSCRIBING, tensors).lm, written, state, TRANSCRIBING)


@pytest.mark.parametrize("kind", BLOCK_KINDS)
def test_ggmls_other_blocks_are_multiplied_out(tmp_path, kind):
    state = random_lm(TALKING)
    tensors, written = gguf_quantized(candle(state, TALKING), kind)
    assert_read_back(opened(tmp_path, TALKING, tensors).lm, written, state, TALKING)


def test_a_repository_without_a_configuration_may_hold_gguf(tmp_path, monkeypatch):
    legacy = RepositoryConfig.from_json(TALKING)
    monkeypatch.setattr(RepositoryConfig, "legacy", staticmethod(lambda: legacy))
    state = random_lm(TALKING)
    tensors, written = gguf_quantized(candle(state, TALKING))
    opened(tmp_path, TALKING, tensors)
    (tmp_path / "config.json").unlink()
    checkpoint = open_checkpoint(str(tmp_path))
    assert_read_back(checkpoint.lm, written, state, TALKING)
    assert NAME in checkpoint.repository.files_used


def test_an_adapter_on_top_of_blocks_is_refused(tmp_path):
    tensors, _ = gguf_quantized(candle(random_lm(TALKING), TALKING))
    with pytest.raises(ModelError, match=r"is quantised, .*LoRA"):
        opened(tmp_path, TALKING, tensors, lora="lora.safetensors")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_plain_values_come_as_float32_and_in_torchs_order_of_axes(tmp_path, dtype):
    tensors = {"a": plain_gguf(TABLE[None].to(dtype)), "b": plain_gguf(torch.ones(()).to(dtype))}
    file = GgufFile(write_gguf(tmp_path / "plain.gguf", tensors))
    assert file.shapes() == {"a": (1, 3, 64), "b": ()}
    names = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
    assert file.dtype("a") == names[dtype]
    assert np.array_equal(file.read("a"), TABLE[None])
    assert np.array_equal(file.read("b"), torch.ones(()))


@pytest.mark.parametrize("rows", [slice(0, 2), slice(2, 3), slice(1, None), slice(-1, None)])
@pytest.mark.parametrize("kind", ["Q8_0", "Q5_1"])
def test_rows_can_be_read_alone(tmp_path, rows, kind):
    tensors, written = gguf_quantized({"a": TABLE, "b": TABLE + 7}, kind)
    file = GgufFile(write_gguf(tmp_path / "rows.gguf", tensors))
    assert np.array_equal(file.read("b", rows), written.decoded["b"][rows])
    assert file.read("b", slice(3, 3)).shape == (0, 64)


def entry(key: str, kind: int, value: bytes) -> bytes:
    return gguf_text(key) + struct.pack("<I", kind) + value


METADATA = (
    entry("general.name", 8, gguf_text("Moshi é")),
    entry("general.alignment", 4, struct.pack("<I", 128)),
    *(entry(f"n{kind}", kind, bytes(size)) for kind, size in ((0, 1), (3, 2), (6, 4), (12, 8))),
    entry("flag", 7, b"\x01"),
    entry("tokens", 9, struct.pack("<IQ", 8, 2) + gguf_text("a") + gguf_text("bc")),
    entry("scores", 9, struct.pack("<IQ", 6, 3) + bytes(12)),
)


def test_metadata_is_passed_over_and_its_alignment_kept(tmp_path):
    tensors, written = gguf_quantized({"a": TABLE, "b": TABLE + 7})
    path = tmp_path / "described.gguf"
    path.write_bytes(gguf_bytes(tensors, METADATA, version=3, alignment=128))
    file = GgufFile(path)
    assert all(np.array_equal(file.read(name), written.decoded[name]) for name in "ab")


GOOD = gguf_bytes(gguf_quantized({"a": TABLE, "b": TABLE})[0])
LFS = b"version https://git-lfs.github.com/spec/v1\n" * 9


def table(**changes: object) -> bytes:
    values: dict[str, object] = {"kind": 8, "shape": (3, 64), "data": bytes(204), **changes}
    return gguf_bytes({"a": GgufTensor(**values)})  # type: ignore[arg-type]


def described(kind: int, value: bytes = b"") -> bytes:
    return gguf_bytes({}, (entry("key", kind, value),))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is cut short inside "),
        (GOOD[:3], "is cut short inside "),
        (GOOD[:30], "is cut short inside "),
        (GOOD[:70], "is cut short inside "),
        (GOOD[:-40], r"is cut short: .* b "),
        (LFS, "is not a GGUF"),
        (gguf_bytes({}, version=1), "is of GGUF version 1; 2 and 3 are read"),
        (GOOD[:4] + GOOD[7:3:-1] + GOOD[8:], "is of GGUF version 33554432; 2 and 3 are read, li"),
        (GOOD[:8] + b"\xff" * 8 + GOOD[16:], "is cut short|has a name "),
        (GOOD[:16] + b"\xff" * 8 + GOOD[24:], "is cut short|unknown type"),
        (table(kind=12), "packs a as Q4_K; of ggml's types F32, .* are read: export from"),
        (table(kind=99), "packs a as type 99; of ggml's types"),
        (table(shape=(3, 48)), "packs a as Q8_0 with 48 "),
        (table(shape=(1,) * 9), "gives a 9 axes"),
        (table(shape=(2**39, 64)), r"is cut short: .* a "),
        (table(shape=(2**60, 64)), "gives a the shape"),
        (GOOD.replace(gguf_text("b"), gguf_text("a")), "names a tensor twice"),
        (
            GOOD.replace(gguf_text("b"), struct.pack("<Q", 1) + b"\xff"),
            "has a name ",
        ),
        (GOOD.replace(gguf_text("b"), gguf_text("\n")), "has a name "),
        (GOOD.replace(gguf_text("b"), gguf_text("b" * 257)), "has a name "),
        (described(13), r"has metadata of .*, 13"),
        (described(9, struct.pack("<IQ", 9, 1)), r"has an array of .*, 9"),
        (described(9, struct.pack("<IQ", 10, 2**61)), "is cut short inside "),
        (described(9, struct.pack("<IQ", 8, 2**61)), "is cut short inside "),
        (
            gguf_bytes({}, (entry("general.alignment", 4, bytes(4)),)),
            "has an alignment of 0; download it again",
        ),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(tmp_path, content, complaint):
    path = tmp_path / "damaged.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=f"damaged.gguf ({complaint})") as error:
        GgufFile(path)
    assert "\n" not in str(error.value)


def test_a_file_that_is_missing_or_shrinks_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"absent.gguf cannot be read"):
        GgufFile(tmp_path / "absent.gguf")
    path = tmp_path / "shrinking.gguf"
    path.write_bytes(GOOD)
    file = GgufFile(path)
    path.write_bytes(GOOD[:-40])
    with pytest.raises(ModelError, match=r"shrinking.gguf became shorter"):
        file.read("b")
