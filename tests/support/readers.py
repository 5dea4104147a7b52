"""What reads files of strangers: valid files, and functions that take any bytes of such a file.

Each function raises nothing but `KyutaiOnnxError`, in one line; `test_fuzz_readers.py` breaks the
valid files and says so.
"""

import copy
import json
import random
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kyutai_onnx.cli.evaluation.datasets import read_samples
from kyutai_onnx.cli.text_input import read_requests
from kyutai_onnx.models.resolve import DEMO
from kyutai_onnx.models.tts.voices import read_embedding
from kyutai_onnx.runtime.bundle.bundle import read_manifest
from kyutai_onnx.runtime.state_file import read_state, write_state
from kyutai_onnx.runtime.tokenizer import open_tokenizer
from kyutai_onnx.server.config import read_config

Read = Callable[[Path], object]
"""Reads the file, wherever it lies."""

ODD: tuple[Any, ...] = (
    None, True, -1, 0, 1, 3, 0.5, 5e-324, 1e308, -1e308, 2**31, 2**63, 10**30,
    "", "a", "../a", "1.0", "none", [], [0], [[]], {}, {"a": 1}, {"type": "lut"},
    [1] * 300, "\0", "\ud800",
)  # fmt: skip


@dataclass(frozen=True)
class Reader:
    """`name` is what the file is called; `seeds` are files that hold."""

    name: str
    seeds: Sequence[bytes]
    read: Read


def changed(chance: random.Random, seed: bytes) -> bytes:
    """The file with one to four changes: of values where it is JSON, of bytes otherwise."""
    if seed[:1] == b"{" and chance.random() < 0.8:
        return _changed_json(chance, json.loads(seed))
    data = bytearray(seed)
    for _ in range(chance.randint(1, 4)):
        _change_bytes(chance, data)
    return bytes(data)


NUMBERS = (0, 1, 127, 255, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)


def _change_bytes(chance: random.Random, data: bytearray) -> None:
    head = min(len(data), chance.choice((64, 512, len(data) or 1)))  # what matters comes first
    place = chance.randrange(head + 1)
    kind = chance.randrange(6)
    if kind == 0:
        data[place : place + 1] = bytes([chance.randrange(256)])
    elif kind == 1:
        number = chance.choice(NUMBERS)
        packed = struct.pack("<Q", number)[: chance.choice((1, 2, 4, 8))]
        data[place : place + len(packed)] = packed
    elif kind == 2:
        del data[place : place + chance.choice((1, 4, 60))]
    elif kind == 3:
        data[place:place] = data[place : place + chance.choice((1, 8, 200))]
    elif kind == 4:
        del data[place:]
    else:
        data[place : place + 1] = (
            bytes([data[place] ^ 1 << chance.randrange(8)]) if place < len(data) else b""
        )


def _changed_json(chance: random.Random, value: Any) -> bytes:
    for _ in range(chance.randint(1, 3)):
        boxes = list(_boxes(value))
        box = chance.choice(boxes)
        keys = list(box) if isinstance(box, dict) else list(range(len(box)))
        if not keys:
            continue
        key = chance.choice(keys)
        if chance.random() < 0.2:
            del box[key]
        else:
            box[key] = copy.deepcopy(chance.choice(ODD))
    return json.dumps(value).encode()


def _boxes(value: Any) -> Any:
    if isinstance(value, dict | list):
        yield value
        for item in value.values() if isinstance(value, dict) else value:
            yield from _boxes(item)


def states(folder: Path) -> Reader:
    path = folder / "state.npz"
    state = {"a": 1, "b": {"c": np.arange(6.0), "d": [1, 2]}, "e": np.zeros((2, 0), np.int64)}
    write_state(path, state)
    return Reader("state.npz", [path.read_bytes()], read_state)


def manifests() -> Reader:
    """Those of the demos, with a few states of each graph."""
    seeds = []
    for task in ("stt", "tts", "hibiki"):
        content = json.loads((DEMO / task / "bundle.json").read_bytes())
        for graph in content["graphs"].values():
            graph["states"] = graph["states"][:3]
        seeds.append(json.dumps(content).encode())
    return Reader("bundle.json", seeds, lambda path: read_manifest(path.parent))


def tokenizers() -> Reader:
    def read(path: Path) -> None:
        tokenizer = open_tokenizer(path)
        tokenizer.decode(tokenizer.encode("seven 7 é\u4e00"))
        [tokenizer.id_to_piece(token) for token in range(tokenizer.get_piece_size())]

    return Reader("tokenizer.model", [(DEMO / "stt" / "tokenizer.model").read_bytes()], read)


def voices(folder: Path) -> Reader:
    from safetensors.numpy import save_file

    path = folder / "voice.safetensors"
    save_file({"speaker_wavs": np.ones((1, 4, 3), np.float32)}, path)
    return Reader(path.name, [path.read_bytes()], lambda file: read_embedding(file, 3, 4, ""))


def lists() -> list[Reader]:
    sample = {"audio": "a.wav", "text": "a", "words": [{"text": "a", "start": 0.5, "end": 1}]}
    text = {"turns": ["a", "b"], "voices": ["v"], "id": "x"}
    config = b'port = 1\n[limits]\nuploads = 2\n[[models]]\ntask = "stt"\nmodel = "a"\nslots = 4\n'
    moshi = b'[modules.a]\ntype = "Py"\npath = "/api"\n[modules.a.py]\nn_q = 3\n'
    return [
        Reader(
            "samples.jsonl", [json.dumps(sample).encode()], lambda f: list(read_samples(str(f)))
        ),
        Reader("texts.jsonl", [json.dumps(text).encode()], lambda f: read_requests(str(f), ())),
        Reader("server.toml", [config, moshi], read_config),
    ]


def runtime_readers(folder: Path) -> list[Reader]:
    """Those that need no torch."""
    return [states(folder), manifests(), tokenizers(), voices(folder), *lists()]


def export_readers(folder: Path) -> list[Reader]:
    """Those of checkpoints."""
    import torch
    from safetensors.torch import save_file
    from support.checkpoints import (
        MIMI,
        MOSHI,
        SPEAKING,
        TEXT_ONLY,
        TRANSFORMERS_MIMI,
        TRANSFORMERS_STT,
        random_lm,
    )
    from support.sources import TOML, adapter_for, gguf_bytes, plain_gguf

    from kyutai_onnx.conversion.checkpoint.config import MimiConfig, RepositoryConfig
    from kyutai_onnx.conversion.checkpoint.config.keys import read_json, read_toml
    from kyutai_onnx.conversion.checkpoint.config.rust import from_rust
    from kyutai_onnx.conversion.checkpoint.gguf_file import GgufFile
    from kyutai_onnx.conversion.checkpoint.layouts import lm_shapes, mimi_shapes
    from kyutai_onnx.conversion.checkpoint.lora import Lora
    from kyutai_onnx.conversion.checkpoint.pickle_file import InMemory, PickleFile
    from kyutai_onnx.conversion.checkpoint.safetensors_file import (
        SafetensorsFile,
        SafetensorsShards,
    )
    from kyutai_onnx.conversion.checkpoint.tensor_views import Tensors

    def read_all(tensors: Tensors) -> None:
        for name in tensors.shapes():
            tensors.dtype(name)
            tensors.read(name)

    def configured(config: RepositoryConfig) -> None:
        if config.lm is not None:
            lm_shapes(config.lm)
        if config.mimi is not None:
            mimi_shapes(config.mimi)
        _ = config.top_k, config.mimi_codebooks

    def saved(name: str, tensors: dict[str, torch.Tensor]) -> bytes:
        save_file(tensors, folder / name)
        return (folder / name).read_bytes()

    small = {"a": torch.arange(12.0).reshape(3, 4), "b": torch.ones(2, dtype=torch.bfloat16)}
    torch.save({"model": small}, folder / "zipped.pt")
    torch.save({"model": small}, folder / "plain.pt", _use_new_zipfile_serialization=False)
    pickles = [(folder / name).read_bytes() for name in ("zipped.pt", "plain.pt")]
    base = random_lm(MOSHI)
    adapter = adapter_for(base, "transformer.layers.0.gating.linear_in.weight")
    weights = saved("weights.safetensors", small)
    index = json.dumps({"weight_map": dict.fromkeys(small, "weights.safetensors")}).encode()
    configs = [MOSHI, SPEAKING, TEXT_ONLY, TRANSFORMERS_MIMI, TRANSFORMERS_STT]
    return [
        Reader(
            "config.json",
            [json.dumps(values).encode() for values in configs],
            lambda path: configured(RepositoryConfig.from_json(read_json(path))),
        ),
        Reader(
            "mimi_config.json",
            [json.dumps(MIMI).encode()],
            lambda path: mimi_shapes(MimiConfig.from_json(read_json(path))),
        ),
        Reader(
            "config.toml",
            [TOML.encode()],
            lambda path: configured(RepositoryConfig.from_json(from_rust(read_toml(path)))),
        ),
        Reader(
            "m.gguf",
            [gguf_bytes({name: plain_gguf(tensor) for name, tensor in small.items()})],
            lambda path: read_all(GgufFile(path)),
        ),
        Reader("m.pt", pickles, lambda path: read_all(PickleFile(path))),
        Reader("m.safetensors", [weights], lambda path: read_all(SafetensorsFile(path))),
        Reader(
            "model.safetensors.index.json",
            [index],
            lambda path: read_all(
                SafetensorsShards(path, lambda name: SafetensorsFile(folder / name))
            ),
        ),
        Reader(
            "lora.safetensors",
            [saved("adapter.safetensors", adapter)],
            lambda path: read_all(Lora(InMemory(base), SafetensorsFile(path), 2.0)),
        ),
    ]
