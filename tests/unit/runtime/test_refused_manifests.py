"""What `Bundle.open` refuses in a manifest, and its schema too where a schema can."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.schema import SCHEMA, VALIDATOR
from support.toy_codec import Json, Toy, read_manifest, write_manifest

from kyutai_onnx.models.resolve import DEMO
from kyutai_onnx.runtime.bundle.bundle import Bundle
from kyutai_onnx.runtime.bundle.manifest import is_inside
from kyutai_onnx.runtime.errors import ModelError

Change = Callable[[Json], object]


def put(path: str, value: object) -> Change:
    """A change that sets `lm.delays`, `graphs.toy.inputs.0.dtype` or the like."""

    def change(content: Json) -> None:
        *parents, last = path.split("/")
        place: Any = content
        for name in parents:
            place = place[int(name) if isinstance(place, list) else name]
        place[int(last) if isinstance(place, list) else last] = value

    return change


def drop(path: str) -> Change:
    def change(content: Json) -> None:
        *parents, last = path.split("/")
        place: Any = content
        for name in parents:
            place = place[int(name) if isinstance(place, list) else name]
        del place[last]

    return change


def file_named(name: str) -> Change:
    """A change that adds a file of that name, and has the graph use it."""

    def change(content: Json) -> None:
        content["files"][name] = content["files"]["toy.onnx"]
        content["graphs"]["toy"]["file"] = name

    return change


def refusal(folder: Path, change: Change) -> tuple[str, bool]:
    """What is said of a changed manifest, and whether the schema refuses it too."""
    content = read_manifest(folder)
    change(content)
    write_manifest(folder, content)
    with pytest.raises(ModelError) as refused:
        Bundle.open(folder)
    assert refused.value.exit_code == 3
    line = str(refused.value)
    assert "\n" not in line
    assert str(folder / "bundle.json") in line
    return line, not VALIDATOR.is_valid(content)


FIELDS = [
    (drop("audio"), "audio: missing"),
    (drop("minimum_onnxruntime"), "minimum_onnxruntime: missing"),
    (drop("audio/frame_size"), "audio.frame_size: missing"),
    (drop("graphs/toy/active"), "graphs.toy.active: missing"),
    (drop("graphs/toy/states/2/shape"), "graphs.toy.states[2].shape: missing"),
    (drop("graphs/toy/states/2/ring/position"), "graphs.toy.states[2].ring.position: missing"),
    (put("name", None), "name: expected a string, found None"),
    (put("audio", []), "audio: expected an object, found []"),
    (put("audio/sample_rate", "24000"), "audio.sample_rate: expected an integer, found '24000'"),
    (put("audio/sample_rate", True), "audio.sample_rate: expected an integer, found True"),
    (put("audio/frame_rate", "fast"), "audio.frame_rate: expected a number, found 'fast'"),
    (put("graphs", []), "graphs: expected an object"),
    (put("graphs/toy/inputs", {}), "graphs.toy.inputs: expected a list"),
    (put("graphs/toy/inputs/0/name", 3), "graphs.toy.inputs[0].name: expected a string, found 3"),
    (put("codec/encoder", "toy"), "codec.encoder: expected a list"),
    (put("files/toy.onnx/bytes", 1.5), "files.toy.onnx.bytes: expected an integer, found 1.5"),
    (put("family", "asr"), "family: expected one of ['mimi', "),
    (put("target", "tpu"), "target: expected one of ['cpu', "),
    (put("flavour", "exotic"), "flavour: expected one of ['native', "),
    (put("precision", "fp8"), "precision: expected one of ['fp32', "),
    (put("graphs/toy/runs_on", "tpu"), "graphs.toy.runs_on: expected one of ['cpu', "),
    (put("graphs/toy/states/0/carry", "move"), "graphs.toy.states[0].carry: expected one of"),
    (put("graphs/toy/inputs/0/dtype", "int4"), "graphs.toy.inputs[0].dtype: expected one of"),
    (put("minimum_onnxruntime", "new"), "minimum_onnxruntime: 'new' is not a version"),
    (put("graphs/toy/max_frames", 0), "graphs.toy.max_frames: expected 1 to 4096, found 0"),
    (put("audio/sample_rate", -1), "audio.sample_rate: expected 1 to 768000, found -1"),
    (put("audio/frame_rate", 0), "audio.frame_rate: expected 0.01 to 10000, found 0"),
    (put("audio/channels", 10**12), "audio.channels: expected 1 to 256"),
    (put("codec/codebooks", 0), "codec.codebooks: expected 1 to 256"),
    (put("graphs/toy/states/0/initial", 1e30), "graphs.toy.states[0].initial: expected -65504 to"),
    (
        put("graphs/toy/active/shape/0", 4097),
        "graphs.toy.active: has no batch, or one of over 4096",
    ),
    (put("minimum_onnxruntime", "1." + "9" * 5000), "minimum_onnxruntime: '1.999"),
    (
        put("graphs/toy/states/2/ring/axis", 0),
        "graphs.toy.states[2].ring.axis: expected 1 to 256, found 0",
    ),
    (put("codec/encoder", []), "codec.encoder: names no graph"),
]


@pytest.mark.parametrize(
    ("change", "reported"), FIELDS, ids=[reported[:60] for _, reported in FIELDS]
)
def test_a_field_that_is_missing_or_of_a_wrong_type_is_refused(
    change: Change, reported: str, tmp_path: Path
) -> None:
    line, invalid = refusal(Toy().write(tmp_path), change)
    assert f"bundle.json: {reported}" in line
    assert invalid


AXES = [
    2**30,
    10**30,
    f"{'9' * 5000}*frames",
    "rows",
    "frames*1920",
    "0*frames",
    "-2*frames",
    "*frames",
    "2*batch",
    "²*frames",
    "",
    0,
    -1,
]


@pytest.mark.parametrize("axis", AXES, ids=lambda axis: repr(axis)[:20])
def test_an_axis_of_another_syntax_is_refused(axis: int | str, tmp_path: Path) -> None:
    line, invalid = refusal(Toy().write(tmp_path), put("graphs/toy/inputs/0/shape/2", axis))
    assert f"graphs.toy: pcm has the shape {['batch', 1, axis]}"[:100] in line
    assert invalid


@pytest.mark.parametrize(
    ("change", "reported"),
    [
        (put("graphs/toy/inputs/0/shape", ["frames", 1]), "pcm does not begin"),
        (put("graphs/toy/outputs/0/shape", []), "codes does not begin"),
        (put("graphs/toy/active/shape", ["frames"]), "graphs.toy.active: has no batch"),
        (put("graphs/toy/states/1/shape", ["batch", "frames"]), "total has the shape"),
        (put("graphs/toy/states/1/shape", ["batch", "batch"]), "total has the shape"),
        (put("graphs/toy/states/1/shape", ["batch", *[1] * 8]), "which is too large"),
    ],
)
def test_a_shape_that_no_graph_can_have_is_refused(
    change: Change, reported: str, tmp_path: Path
) -> None:
    line, invalid = refusal(Toy().write(tmp_path), change)
    assert reported in line
    assert invalid


OUTSIDE = [
    "..",
    "../toy.onnx",
    "a/../../toy.onnx",
    "a/..",
    "/toy.onnx",
    "//host/toy.onnx",
    "..\\toy.onnx",
    "C:\\toy.onnx",
    "C:toy.onnx",
    "",
    ".",
    "./",
    "toy\n.onnx",
    "toy\0.onnx",
    "\\\\server\\share\\toy.onnx",
    "file:///toy.onnx",
    ".. /toy.onnx",
    "a/... /toy.onnx",
    "toy.onnx.",
    "nul",
    "a/Con.onnx",
    "a/" + "b" * 201,
    "/".join("a" * 600),
    "toy*.onnx",
    "toy\x7f.onnx",
]


@pytest.mark.parametrize("name", OUTSIDE, ids=repr)
def test_a_path_that_leaves_the_folder_is_refused(name: str, tmp_path: Path) -> None:
    line, invalid = refusal(Toy().write(tmp_path), file_named(name))
    assert f"files: {name!r}"[:100] in line
    assert f"{name!r} points outside"[-80:] in line
    assert invalid


@pytest.mark.parametrize(
    "name",
    [
        "toy.onnx",
        "graphs/toy.onnx",
        "..toy",
        "a..b/c",
        "./toy.onnx",
        "console",
        "é" * 200,
        "p225_023.wav.1e68beda@240.safetensors",
    ],
)
def test_a_path_inside_the_folder_is_not(name: str) -> None:
    assert is_inside(name)
    assert re.search(SCHEMA["$defs"]["path"]["pattern"], name)


@pytest.mark.parametrize(
    ("change", "reported"),
    [
        (put("graphs/toy/file", "b.onnx"), "graphs.toy: 'b.onnx' "),
        (put("graphs/toy/data", "b.data"), "graphs.toy: 'b.data' "),
        (put("tokenizer", "b.model"), "tokenizer: "),
        (put("codec/encoder/0", "b"), "codec.encoder: 'b' "),
        (put("codec/decoder", ["toy"]), "codec.decoder: nothing "),
        (put("codec/encoder", ["toy", "toy"]), "codec.encoder: nothing "),
        (put("graphs/toy/outputs/0/name", "c"), "codec.encoder: gives no codes"),
        (put("graphs/toy/states/2/ring/axis", 4), "graphs.toy: ring has no axis 4"),
        (put("graphs/toy/states/2/ring/position", "total"), "position 'total'"),
        (put("graphs/toy/states/2/ring/position", "b"), "position 'b'"),
        (put("graphs/toy/inputs/0/shape/0", 2), "pcm does not begin"),
        (put("graphs/toy/states/1/shape", ["batch", 2**20, 2**20]), "which is too large"),
        (put("graphs/toy/inputs/0/shape", ["batch", 64, "9999999*frames"]), "which is too large"),
        (put("graphs/toy/states/0/initial", 0.5), "offset is int64, which does not hold 0.5"),
        (put("name", "a\nb"), "name: expected a text"),
        (put("name", "\ud800"), "lone surrogate"),
        (put("graphs/toy/inputs/0/name", "\x1b[2J"), "inputs[0].name: expected a text"),
    ],
)
def test_a_reference_to_nothing_is_refused(change: Change, reported: str, tmp_path: Path) -> None:
    line, _ = refusal(Toy().write(tmp_path), change)
    assert reported in line


SPEAKING = [
    (drop("lm"), "lm: missing, and family stt needs it", True),
    (put("stt", None), "stt: missing, and family stt needs it", True),
    (drop("sampling"), "sampling: missing, and family stt needs it", True),
    (drop("tokenizer"), "tokenizer: missing, and family stt needs it", True),
    (put("lm/delays", "none"), "lm.delays: expected a list", True),
    (put("lm/delays/1", -1), "lm.delays[1]: expected 0 to 4096, found -1", True),
    (put("lm/delays/1", 10**12), "lm.delays[1]: expected 0 to 4096", True),
    (put("lm/n_q", 10**12), "lm.n_q: expected 0 to 256", True),
    (put("lm/dep_q", 9), "lm.dep_q: 9, more than the 8", False),
    (put("lm/card", 0), "lm.card: expected 1 to", True),
    (put("lm/context", 2**40), "lm.context: expected 1 to", True),
    (put("lm/tokens/text_initial", 385), "lm.tokens.text_initial: expected 0 to 384", False),
    (put("lm/tokens/audio_initial", -1), "lm.tokens.audio_initial: expected 0 to 256", False),
    (put("lm/conditioners", {"a": {"kind": "lut"}}), "lm.conditioners.a: has neither", False),
    (put("lm/conditioners", {"a": {"kind": "tensor", "dim": 1}}), "a: has no length", False),
    (put("sampling/temp", -1), "sampling.temp: expected 0 to 100", True),
    (put("sampling/top_k", 2**63), "sampling.top_k: expected 0 to", True),
    (put("stt/audio_delay_seconds", 1e9), "stt.audio_delay_seconds: expected 0 to 600", True),
    (put("lm/delays", [0, 0]), "lm.delays: expected 9, one a stream", False),
    (put("lm/n_q", 7), "lm.delays: expected 8, one a stream", False),
    (put("lm/temporal", "depth"), "lm.temporal: 'depth' is not among the graphs", False),
    (put("lm/temporal", "mimi_encoder"), "lm.temporal: takes pcm, not tokens", False),
]


@pytest.mark.parametrize(
    ("change", "reported", "said_by_schema"),
    SPEAKING,
    ids=[reported for _, reported, _ in SPEAKING],
)
def test_a_language_model_that_does_not_hold_together_is_refused(
    change: Change, reported: str, said_by_schema: bool, tmp_path: Path
) -> None:
    write_manifest(tmp_path, read_manifest(DEMO / "stt"))
    line, invalid = refusal(tmp_path, change)
    assert reported in line
    assert invalid == said_by_schema


PROMPT = {
    "silence": [1] * 8,
    "partner": [2] * 8,
    "pause_frames": 6,
    "role_mark": "<system>",
    "loudness": -24,
}


@pytest.mark.parametrize(
    ("change", "reported"),
    [
        (put("prompt/silence", [1] * 7), "prompt.silence: expected 8 codes"),
        (put("prompt/partner", [*[2] * 7, 1 << 20]), "prompt.partner: expected 8 codes"),
        (put("prompt/loudness", 1), "prompt.loudness: expected -70 to 0"),
        (put("prompt/role_mark", "a\nb"), "prompt.role_mark: expected a text"),
        (put("lm/delays/8", 0), "prompt: a codebook"),
    ],
)
def test_a_prompt_that_does_not_fit_the_model_is_refused(
    change: Change, reported: str, tmp_path: Path
) -> None:
    content = read_manifest(DEMO / "hibiki")
    write_manifest(tmp_path, content | {"prompt": PROMPT})
    line, _ = refusal(tmp_path, change)
    assert reported in line


def test_a_prompt_needs_a_language_model(tmp_path: Path) -> None:
    folder = Toy().write(tmp_path)
    line, _ = refusal(folder, lambda content: content.update(prompt=PROMPT))
    assert "prompt: " in line


def test_a_language_model_must_give_what_it_has(tmp_path: Path) -> None:
    write_manifest(tmp_path, read_manifest(DEMO / "stt"))
    outputs = "graphs/temporal_transformer/outputs"
    line, _ = refusal(tmp_path, put(f"{outputs}/1/name", "heads"))
    assert "lm.temporal: gives no extra_heads" in line
    line, _ = refusal(tmp_path, put(f"{outputs}/0/name", "logits"))
    assert "lm.temporal: gives no extra_heads, text_logits" in line


@pytest.mark.parametrize(
    ("change", "reported"),
    [
        (put("format", "onnx"), "not a kyutai-onnx bundle"),
        (drop("format"), "not a kyutai-onnx bundle"),
        (put("format_version", 2), "format version 2, "),
        (put("format_version", 0), "format version 0 is invalid"),
        (put("format_version", "1"), "format version '1' is invalid"),
        (drop("format_version"), "format version None"),
    ],
)
def test_another_format_or_a_newer_version_is_refused(
    change: Change, reported: str, tmp_path: Path
) -> None:
    line, invalid = refusal(Toy().write(tmp_path), change)
    assert reported in line
    assert invalid


DEEP = '{"format": "kyutai-onnx", "source": ' + "[" * 100_000


@pytest.mark.parametrize(
    "text",
    ["", "{}", "{", "[]", "null", "3", '"bundle"', "\ufeff{}", DEEP, '{"a": NaN}', '{"a": 1e999}'],
    ids=lambda text: text[:20],
)
def test_a_manifest_that_is_no_json_object_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "bundle.json").write_text(text, "utf-8")
    with pytest.raises(ModelError, match=r"bundle\.json: not .*; export or download") as refused:
        Bundle.open(tmp_path)
    assert "\n" not in str(refused.value)


def test_a_manifest_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bundle.json").write_bytes(b"\xff\xfe\x00binary")
    with pytest.raises(ModelError, match="not readable as JSON"):
        Bundle.open(tmp_path)


def test_a_name_of_any_length_is_shortened_in_the_message(tmp_path: Path) -> None:
    line, _ = refusal(Toy().write(tmp_path), put("source/files", {"x" * 100_000: "not a hash"}))
    assert re.search(r"source\.files\.x+ \[…\] x+", line)
    assert len(line) < 1000
