"""A template is the same for all checkpoints of a configuration, and filling it needs no torch."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

import pytest

pytest.importorskip("torch", reason="the export needs torch")

import onnx
import torch
from safetensors.torch import save_file
from support.checkpoints import (
    MOSHI,
    SPEAKING,
    TEXT_ONLY,
    TRANSFORMERS_STT,
    Json,
    candle,
    fused,
    mlx,
    random_lm,
    random_mimi,
    stored,
    transformers_stt,
    write_folder,
)

from kyutai_onnx.conversion.checkpoint.checkpoint import Checkpoint, open_checkpoint
from kyutai_onnx.conversion.convert import Request
from kyutai_onnx.conversion.filling.fill import fill_template
from kyutai_onnx.conversion.filling.shipped import shipped_template, write_archive
from kyutai_onnx.conversion.filling.targets import TARGETS, Precisions
from kyutai_onnx.conversion.filling.template import Design, Template, design_of
from kyutai_onnx.export import plan
from kyutai_onnx.export.bundle import export_bundle
from kyutai_onnx.export.graphs.graph_template import graph_template
from kyutai_onnx.models.calibration_run import cache_entries
from kyutai_onnx.runtime.bundle.manifest import Precision
from kyutai_onnx.runtime.bundle.manifest import Target as TargetName
from kyutai_onnx.runtime.errors import ModelError

DESCRIBED: Json = MOSHI | {
    "model_type": "hibiki",
    "conditioners": {
        "description": {
            "type": "lut",
            "lut": {"n_bins": 3, "dim": 8, "tokenizer": "noop", "possible_values": ["good"]},
        }
    },
    "fuser": {"sum": ["description"]},
}
FAMILIES: dict[str, Json] = {
    "stt": TEXT_ONLY | {"extra_heads_num_heads": 2},
    "tts": SPEAKING,
    "hibiki": DESCRIBED,
    "moshi": MOSHI,
}
SHOWN: tuple[tuple[str, Precision], ...] = (
    ("stt", "int4"),
    ("tts", "int8"),
    ("hibiki", "int4"),
    ("moshi", "fp16"),
)
EVERY = [
    (name, precision)
    for name in TARGETS
    for precision in get_args(Precision)
    if name != "directml"  # whose graphs are those of webgpu
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Checkpoint]:
    """A random checkpoint of a family, by its seed."""
    folder = tmp_path_factory.mktemp("checkpoints")

    def make(family: str, seed: int) -> Checkpoint:
        values, path = FAMILIES[family], folder / str(seed) / family
        if not path.exists():
            lm, mimi = fused(random_lm(values, seed)), fused(random_mimi(seed=seed + 10))
            write_folder(path, values, lm, mimi)
        return open_checkpoint(str(path))

    return make


def template_of(
    checkpoint: Checkpoint, target: TargetName, precision: Precision, *, codec: bool = True
) -> Template:
    """A template that was written down and read again; without the codec the encoder is missing."""
    design = design_for(checkpoint, target, precision)
    with pytest.MonkeyPatch.context() as patch:
        if not codec:
            patch.setattr("kyutai_onnx.export.plan._plan_codec", lambda _: ([], []))
        template = plan.make_template(design)
    with TemporaryDirectory() as folder:
        archive = Path(folder) / "templates.tar.xz"
        write_archive(archive, {design.key: template}, {}, sample="")
        written = shipped_template(design, archive)
        assert shipped_template(replace(design, codebooks=1), archive) is None
    assert written == template
    return template


def design_for(checkpoint: Checkpoint, target: TargetName, precision: Precision) -> Design:
    made_for = TARGETS[target]
    precisions = Precisions(precision, "fp32", made_for.default_cache(precision))
    return design_of(checkpoint, made_for, precisions)


def filled(template: Template, checkpoint: Checkpoint, folder: Path) -> dict[str, bytes]:
    folder.mkdir()
    fill_template(template, checkpoint, folder, cache_entries, lambda *_: None)
    return contents(folder)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


@pytest.mark.parametrize(("family", "precision"), SHOWN)
def test_a_template_of_one_checkpoint_filled_with_another_is_the_export_of_that(
    family: str,
    precision: Precision,
    checkpoint: Callable[[str, int], Checkpoint],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The other's language model is traced a second time."""
    one, other = checkpoint(family, 0), checkpoint(family, 1)
    template, once = template_of(one, "cpu", precision), plan.graph_template
    traces = {"mimi": once, "lm": graph_template}
    monkeypatch.setattr(plan, "graph_template", lambda graph: traces[graph.weights](graph))
    made = filled(template, other, tmp_path / "filled")
    request = Request(other.repository.name, tmp_path / "exported", precision=precision)
    exported = contents(export_bundle(request))
    assert made == exported
    kept = {name for name, content in exported.items() if name.endswith(".onnx")}
    again = filled(template, one, tmp_path / "one")
    assert {name for name in kept if made[name] == again[name]} == kept
    assert made["temporal_transformer.data"] != again["temporal_transformer.data"]


@pytest.mark.parametrize("family", FAMILIES)
def test_all_checkpoints_of_a_configuration_have_one_design(
    family: str, checkpoint: Callable[[str, int], Checkpoint]
) -> None:
    """Tracing reads nothing but the design, so their templates are one as well."""
    one, other = checkpoint(family, 0), checkpoint(family, 1)
    keys = [design_for(one, *made_for).key for made_for in EVERY]
    assert [design_for(other, *made_for).key for made_for in EVERY] == keys
    assert len(set(keys)) == len(EVERY)


@pytest.mark.parametrize(("target", "precision"), EVERY)
def test_every_weight_lies_outside_the_graph(
    target: TargetName, precision: Precision, checkpoint: Callable[[str, int], Checkpoint]
) -> None:
    one = template_of(checkpoint("stt", 0), target, precision, codec=False)
    graph = onnx.ModelProto.FromString(one.graphs["temporal_transformer"].model).graph
    outside = {t.name for t in graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL}
    assert outside == {tensor.name for tensor in one.graphs["temporal_transformer"].tensors}
    assert "out_norm.alpha" in outside


@pytest.mark.parametrize("layout", ["fused", "candle", "mlx"])
def test_every_layout_of_a_model_fills_a_template_alike(
    layout: str, checkpoint: Callable[[str, int], Checkpoint], tmp_path: Path
) -> None:
    values, known = FAMILIES["moshi"], checkpoint("moshi", 0)
    state = random_lm(values, 0)
    written = {
        "fused": lambda: fused(state),
        "candle": lambda: candle(state, values),
        "mlx": lambda: mlx(state, values),
    }[layout]()
    mimi = fused(random_mimi(seed=10))
    other = open_checkpoint(str(write_folder(tmp_path / "other", values, written, mimi)))
    template = template_of(known, "cpu", "int8", codec=False)
    precisions = Precisions("int8")
    assert design_of(other, TARGETS["cpu"], precisions) == design_of(
        known, TARGETS["cpu"], precisions
    )
    made = filled(template, other, tmp_path / "filled")
    expected = filled(template, known, tmp_path / "expected")
    for name in ("temporal_transformer.data", "depth_transformer.data"):
        assert made[name] == expected[name]


def test_so_does_the_layout_of_transformers(tmp_path: Path) -> None:
    lm, mimi = random_lm(TEXT_ONLY), random_mimi()
    folder = write_folder(tmp_path / "kyutai", TEXT_ONLY, fused(lm), fused(mimi))
    other = tmp_path / "transformers"
    other.mkdir()
    state = transformers_stt(lm, mimi, 4, 2, 3)
    save_file(stored(state), other / "model.safetensors")
    settings = {"audio_delay_seconds": 0.5, "audio_silence_prefix_seconds": 1.0}
    (other / "config.json").write_text(
        json.dumps(TRANSFORMERS_STT | {"tokenizer_name": "tokenizer.model"})
    )
    (other / "preprocessor_config.json").write_text(json.dumps(settings))
    (other / "tokenizer.model").write_bytes((folder / "tokenizer.model").read_bytes())
    known, same = open_checkpoint(str(folder)), open_checkpoint(str(other))
    template = template_of(same, "cpu", "int8")
    made = filled(template, same, tmp_path / "made")
    expected = filled(template, known, tmp_path / "expected")
    for name in ("temporal_transformer.data", "mimi_encoder.data"):
        assert made[name] == expected[name]


def test_settings_that_reach_no_graph_do_not_change_the_design(
    checkpoint: Callable[[str, int], Checkpoint],
) -> None:
    known = checkpoint("hibiki", 0)
    design = design_of(known, TARGETS["cpu"], Precisions("int8"))
    lm = known.config.lm
    assert lm is not None
    depth = lm.depformer
    assert depth is not None
    depth = replace(
        depth,
        transformer=replace(depth.transformer, max_period=5),
        schedule=tuple(range(depth.codebooks)),
    )
    changed = replace(
        lm,
        delays=(3,) * len(lm.delays),
        lora=True,
        existing_text_padding_id=1,
        depformer=depth,
    )
    other = replace(known, config=replace(known.config, lm=changed, model_type="moshi"))
    assert design_of(other, TARGETS["cpu"], Precisions("int8")).key == design.key
    wider = replace(lm, transformer=replace(lm.transformer, max_period=5))
    other = replace(known, config=replace(known.config, lm=wider))
    assert design_of(other, TARGETS["cpu"], Precisions("int8")).key != design.key
    assert design_of(known, TARGETS["cpu"], Precisions("int4")).key != design.key


def test_weights_of_16_bits_stay_so_where_nothing_is_lost(tmp_path: Path) -> None:
    lm = fused(random_lm(TEXT_ONLY))
    folder = write_folder(tmp_path / "half", TEXT_ONLY, lm, dtype=torch.float16)
    half = open_checkpoint(str(folder))
    design = design_of(half, TARGETS["cpu"], Precisions("fp32"))
    assert design.halves == ("lm",)
    tensors = template_of(half, "cpu", "fp32", codec=False).graphs["temporal_transformer"].tensors
    types = {tensor.name: tensor.dtype for tensor in tensors}
    assert types["embeddings.table.half"] == "float16"
    assert types["out_norm.alpha"] == "float32"
    portable = template_of(half, "webgpu", "fp32", codec=False).graphs["temporal_transformer"]
    assert {tensor.dtype for tensor in portable.tensors} == {"float32"}


def test_a_template_of_another_configuration_is_refused(
    checkpoint: Callable[[str, int], Checkpoint], tmp_path: Path
) -> None:
    template = template_of(checkpoint("stt", 0), "cpu", "int8", codec=False)
    values = FAMILIES["stt"] | {"text_card": 30}
    other = open_checkpoint(str(write_folder(tmp_path / "other", values)))
    with pytest.raises(ModelError, match=r"embeddings\.table") as error:
        filled(template, other, tmp_path / "filled")
    assert "\n" not in str(error.value)


WITHOUT_TORCH = """
import sys
from pathlib import Path

BLOCKED = {"torch", "onnx", "onnx_ir", "onnxscript", "ml_dtypes", "gguf", "moshi"}


class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Missing())
from kyutai_onnx.conversion import convert
from kyutai_onnx.export.bundle import export_bundle

find, archive = convert.shipped_template, Path(sys.argv[1])
convert.shipped_template = lambda design: find(design, archive)
export_bundle(convert.Request(sys.argv[2], Path(sys.argv[3]), precision="int4"))
assert not BLOCKED & {name.partition(".")[0] for name in sys.modules}
"""


def test_a_template_is_filled_without_torch_and_onnx(
    checkpoint: Callable[[str, int], Checkpoint], tmp_path: Path
) -> None:
    known = checkpoint("stt", 0)
    template = template_of(known, "cpu", "int4")
    expected = filled(template, known, tmp_path / "expected")
    archive, out = tmp_path / "templates.tar.xz", tmp_path / "filled"
    write_archive(archive, {design_for(known, "cpu", "int4").key: template}, {}, sample="")
    command = [sys.executable, "-W", "error", "-c", WITHOUT_TORCH]
    arguments = [str(archive), known.repository.name, str(out)]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert contents(out) == expected
    write_archive(archive, {}, {}, sample="")
    arguments[2] = str(tmp_path / "none")
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    assert "torch is missing" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "none").exists()
