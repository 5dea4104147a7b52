"""A toy that speaks, as a bundle: the demo's codec and tokenizer around graphs small enough to
read. It hums and murmurs; what it makes of its inputs is arbitrary, but depends on all of them.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
from safetensors.numpy import save_file
from support.toy_codec import entry, tensor

from kyutai_onnx.models.resolve import DEMO
from kyutai_onnx.runtime.bundle.bundle import Bundle

TEXT = 'set an alarm<break time="0.4s"/> for seven thirty today please'
WORDS = ["set", "an", "alarm", "for", "seven", "thirty", "today", "please"]
Json = dict[str, Any]
CODEBOOKS, FRAMES, DIM, SPEAKERS = 4, 5, 2, 2
CANDIDATES = 16
SUFFIX = ".70c0ffee@1.safetensors"
CFG = ("1.0", "1.5", "2.0")

TEMPORAL = """
<ir_version: 10, opset_import: ["" : 18]>
temporal (int64[batch, 5] tokens, {takes} bool[batch] active, int64[batch, 1] memory {constant})
=> (float[batch, 384] text_logits, float[batch, 1] hidden, int64[batch, 1] memory_next)
<int64[1] one = {{1}}, int64 twelve = {{12}}, int64 prime = {{9973}}, int64 many = {{31}},
 int64 seven = {{7}}, float[384] plain = {{{plain}}}, float[384] word = {{{word}}}>
{{
    shifted = Add(tokens, twelve)
    mixed = Mul(shifted, {weights})
    read = ReduceSum <keepdims = 1> (mixed, one)
    {second}
    older = Mul(memory, many)
    both = Add(older, heard)
    next = Mod(both, prime)
    active_column = Unsqueeze(active, one)
    memory_next = Where(active_column, next, memory)
    wish = Mod(memory_next, seven)
    wish_float = Cast <to = 1> (wish)
    scaled = Mul(wish_float, word)
    text_logits = Add(scaled, plain)
    memory_float = Cast <to = 1> (memory_next)
    hidden = {hidden}
}}
"""
DEPTH = """
<ir_version: 10, opset_import: ["" : 18]>
depth (float[batch, 1] hidden, int64[batch] text, {takes} int64[batch, 4] forced,
       float[batch] temperature, float[batch, 4, 16] noise, int64[batch] conditioned,
       int64[batch] null, float[batch] guidance, bool[batch] active)
=> ({gives})
<int64[1] one = {{1}}, int64 free = {{-2}}, int64 card = {{256}}, int64 first = {{0}}, {constants}
 float strength = {{40.0}}>
{{
    with = Gather <axis = 0> (hidden, conditioned)
    without = Gather <axis = 0> (hidden, null)
    difference = Sub(with, without)
    guidance_column = Unsqueeze(guidance, one)
    further = Mul(difference, guidance_column)
    guided = Add(without, further)
    guided_row = Squeeze(guided, one)
    whole = Cast <to = 7> (guided_row)
    likeliest = Gather <axis = 2> (noise, first)
    strong = Mul(temperature, strength)
    {codes}
}}
"""
CODE = """
    noise_{k} = Gather <axis = 1> (likeliest, index_{k})
    drawn_{k} = Mul(noise_{k}, strong)
    chance_{k} = Cast <to = 7> (drawn_{k})
    from_hidden_{k} = Mul(whole, factor_{k})
    from_text_{k} = Mul(text, factor_{k})
    first_{k} = Add(from_hidden_{k}, from_text_{k})
    sum_{k} = Add(first_{k}, chance_{k})
    wrapped_{k} = Mod(sum_{k}, card)
    told_{k} = Gather <axis = 1> (forced, index_{k})
    is_free_{k} = Equal(told_{k}, free)
    codes_dot_{k} = Where(is_free_{k}, wrapped_{k}, told_{k})
"""
CONDITIONS = """
<ir_version: 10, opset_import: ["" : 18]>
conditions (float[batch, 10, 2] speaker_wavs, bool[batch, 10] speaker_wavs_dot_mask,
            int64[batch] cfg, int64[batch] control, bool[batch] active)
=> (float[batch, 1] condition_sum)
<int64[1] one = {1}, int64[2] both_axes = {1, 2}, int64[1] two = {2}, float many = {10.0}>
{
    mask_float = Cast <to = 1> (speaker_wavs_dot_mask)
    mask_wide = Unsqueeze(mask_float, two)
    kept = Mul(speaker_wavs, mask_wide)
    voice = ReduceSum <keepdims = 0> (kept, both_axes)
    texts = Add(cfg, control)
    texts_float = Cast <to = 1> (texts)
    scaled = Mul(texts_float, many)
    sum = Add(voice, scaled)
    condition_sum = Unsqueeze(sum, one)
}
"""


def speaking_bundle(folder: Path, *, embeddings: bool = True, **changes: Json) -> Bundle:
    """A bundle that takes its voices as embeddings and looks ahead, or as recordings; `changes`
    are for parts of the manifest."""
    shutil.copytree(DEMO / "stt", folder)
    manifest = json.loads((folder / "bundle.json").read_text("utf-8"))
    for name in ("temporal_transformer.onnx", "temporal_transformer.data"):
        (folder / name).unlink()
        del manifest["files"][name]
    for name, (text, spec) in _graphs(embeddings).items():
        model = _parsed(text)
        content = model.SerializeToString(deterministic=True)
        (folder / spec["file"]).write_bytes(content)
        manifest["files"][spec["file"]] = entry(content)
        manifest["graphs"][name] = spec
    manifest |= _settings(manifest, embeddings)
    for name, change in changes.items():
        manifest[name] |= change
    (folder / "bundle.json").write_text(json.dumps(manifest), "utf-8")
    return Bundle.open(folder)


def _parsed(text: str) -> onnx.ModelProto:
    """The parser knows no names with dots in them."""
    model = onnx.parser.parse_model(text)
    for value in (*model.graph.input, *model.graph.output):
        value.name = value.name.replace("_dot_", ".")
    for node in model.graph.node:
        node.input[:] = [name.replace("_dot_", ".") for name in node.input]
        node.output[:] = [name.replace("_dot_", ".") for name in node.output]
    onnx.checker.check_model(model)
    return model


def write_voice(path: Path, loudness: float = 3.0, shape: tuple[int, ...] | None = None) -> Path:
    """A voice that fits the toy."""
    path.parent.mkdir(parents=True, exist_ok=True)
    vectors = np.full(shape or (1, DIM, FRAMES), loudness, np.float32)
    save_file({"speaker_wavs": vectors}, path)
    return path


def _settings(manifest: Json, embeddings: bool) -> Json:
    names = {"temporal": "temporal_transformer", "depth": "depth_transformer"}
    if embeddings:
        names["conditions"] = "conditions"
    conditioners = {
        "speaker_wavs": {"kind": "tensor", "length": SPEAKERS * FRAMES, "dim": DIM},
        "cfg": {"kind": "lut", "values": list(CFG), "bins": 3},
        "control": {"kind": "lut", "values": ["ok"], "bins": 1},
    }
    language_model = (
        manifest["lm"]
        | names
        | {
            "n_q": CODEBOOKS,
            "dep_q": CODEBOOKS,
            "delays": [0, 0, 1, 1, 1],
            "conditioners": conditioners if embeddings else {},
            "second_text_stream": embeddings,
            "extra_heads": 0,
            "extra_head_classes": 0,
        }
    )
    speech = {
        "audio_delay_seconds": 0.32,
        "second_stream_ahead": 2 if embeddings else 0,
        "max_speakers": SPEAKERS,
        "multistream": False,
        "voice_suffix": SUFFIX if embeddings else "",
    }
    sampling = {"temp": 0.6, "temp_text": 0.6, "top_k": CANDIDATES, "top_k_text": 25}
    return {
        "name": "speaking-toy",
        "family": "tts",
        "precision": "fp32",
        "lm": language_model,
        "tts": speech,
        "sampling": sampling,
        "stt": None,
    }


def _graphs(embeddings: bool) -> dict[str, tuple[str, Json]]:
    second = [tensor("second_text", "int64", "batch")] if embeddings else []
    graphs = {
        "temporal_transformer": (_temporal(embeddings), _temporal_spec(second, embeddings)),
        "depth_transformer": (_depth(embeddings), _depth_spec(second)),
    }
    if embeddings:
        graphs["conditions"] = (CONDITIONS, _conditions_spec())
    return graphs


def _temporal(embeddings: bool) -> str:
    word = [1.0 if token == 0 else 0.0 for token in range(384)]
    plain = [2.5 if token == 3 else 0.0 if token == 0 else -20.0 for token in range(384)]
    second = "heard = Identity(read)"
    if embeddings:
        second = "wide = Unsqueeze(second_text, one)\n heard = Add(read, wide)"
    text = TEMPORAL.format(
        takes="int64[batch] second_text," if embeddings else "",
        constant=", float[batch, 1] condition_sum" if embeddings else "",
        plain=", ".join(map(str, plain)),
        word=", ".join(map(str, word)),
        weights="places",
        second=second,
        hidden="Add(memory_float, condition_sum)" if embeddings else "Identity(memory_float)",
    )
    return text.replace("<int64[1] one", "<int64[5] places = {11, 3, 5, 7, 13}, int64[1] one", 1)


def _temporal_spec(second: list[Json], embeddings: bool) -> Json:
    memory = {"input": "memory", "output": "memory_next", "dtype": "int64", "shape": ["batch", 1]}
    voice = {"input": "condition_sum", "dtype": "float32", "shape": ["batch", 1]}
    return {
        "file": "temporal.onnx",
        "inputs": [tensor("tokens", "int64", "batch", 1 + CODEBOOKS), *second],
        "active": tensor("active", "bool", "batch"),
        "outputs": [
            tensor("text_logits", "float32", "batch", 384),
            tensor("hidden", "float32", "batch", 1),
        ],
        "states": [memory, *([voice | {"carry": "constant"}] if embeddings else [])],
    }


def _depth(embeddings: bool) -> str:
    books = range(CODEBOOKS)
    constants = [f"int64 index_{k} = {{{k}}}, int64 factor_{k} = {{{2 * k + 3}}}," for k in books]
    return DEPTH.format(
        takes="int64[batch] second_text," if embeddings else "",
        gives=", ".join(f"int64[batch] codes_dot_{k}" for k in books),
        constants=" ".join(constants),
        codes="".join(CODE.format(k=k) for k in books),
    )


def _depth_spec(second: list[Json]) -> Json:
    numbers = ("conditioned", "null")
    return {
        "file": "depth.onnx",
        "inputs": [
            tensor("hidden", "float32", "batch", 1),
            tensor("text", "int64", "batch"),
            *second,
            tensor("forced", "int64", "batch", CODEBOOKS),
            tensor("temperature", "float32", "batch"),
            tensor("noise", "float32", "batch", CODEBOOKS, CANDIDATES),
            *(tensor(name, "int64", "batch") for name in numbers),
            tensor("guidance", "float32", "batch"),
        ],
        "active": tensor("active", "bool", "batch"),
        "outputs": [tensor(f"codes.{k}", "int64", "batch") for k in range(CODEBOOKS)],
        "states": [],
    }


def _conditions_spec() -> Json:
    length = SPEAKERS * FRAMES
    return {
        "file": "conditions.onnx",
        "inputs": [
            tensor("speaker_wavs", "float32", "batch", length, DIM),
            tensor("speaker_wavs.mask", "bool", "batch", length),
            tensor("cfg", "int64", "batch"),
            tensor("control", "int64", "batch"),
        ],
        "active": tensor("active", "bool", "batch"),
        "outputs": [tensor("condition_sum", "float32", "batch", 1)],
        "states": [],
    }
