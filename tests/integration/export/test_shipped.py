"""The templates that come with the package are those that tracing makes today."""

import tarfile
from dataclasses import replace

import pytest

pytest.importorskip("torch", reason="the export needs torch")

import torch

from benchmarks.configs import HIBIKI_1B_RUST, PUBLISHED, TRANSFORMERS_MIMI, Config
from kyutai_onnx.conversion.checkpoint.config import LMConfig, MimiConfig, RepositoryConfig
from kyutai_onnx.conversion.checkpoint.config.rust import from_rust
from kyutai_onnx.conversion.checkpoint.layouts import lm_shapes, with_widths
from kyutai_onnx.conversion.checkpoint.pickle_file import InMemory
from kyutai_onnx.conversion.filling.shipped import ARCHIVE, read_index, shipped_template
from tests.renew_templates import (
    CONFIGS,
    USUAL,
    code_digest,
    deciding_digest,
    design,
    published_designs,
    read_digests,
    sample_digest,
)

MOST_BYTES = 3_000_000
MOSHI = PUBLISHED["moshi-7b"]
TRANSFORMERS_STT: Config = {
    "model_type": "kyutai_speech_to_text",
    "architectures": ["KyutaiSpeechToTextForConditionalGeneration"],
    "codec_config": TRANSFORMERS_MIMI,
}


def rust_config() -> RepositoryConfig:
    """The configuration of a `-rs-` repository, with the widths that its tensors have."""
    config = RepositoryConfig.from_json(from_rust(HIBIKI_1B_RUST))
    shapes = lm_shapes(LMConfig.from_json(PUBLISHED["hibiki-1b"]))
    tensors = InMemory({name: torch.zeros(1).expand(shape) for name, shape in shapes.items()})
    assert config.lm is not None
    return replace(config, lm=with_widths(config.lm, tensors))


FORMS: dict[str, tuple[str, RepositoryConfig]] = {
    "no config.json": ("moshi-7b", RepositoryConfig.legacy()),
    "transformers, the defaults": (
        "stt-2.6b-en",
        RepositoryConfig.from_json(TRANSFORMERS_STT),
    ),
    "transformers, the smaller model": (
        "stt-1b-en_fr",
        RepositoryConfig.from_json(
            TRANSFORMERS_STT
            | {
                "vocab_size": 8001,
                "num_hidden_layers": 16,
                "num_attention_heads": 16,
                "sliding_window": 750,
            }
        ),
    ),
    "config.toml": ("hibiki-1b-context-3000", rust_config()),
    "bitsandbytes": ("moshi-7b", RepositoryConfig.from_json(MOSHI | {"quantize": True})),
    "a LoRA": (
        "moshi-7b",
        RepositoryConfig.from_json(MOSHI | {"lora": True, "lora_rank": 64, "lora_scaling": 4.0}),
    ),
    "conditions that reach nothing": (
        "tts-0.75b-en-public",
        RepositoryConfig.from_json(
            PUBLISHED["tts-0.75b-en-public"]
            | {"fuser": {"sum": [], "cross": [], "cross_attention_pos_emb": True}}
        ),
    ),
    "another top-k": (
        "hibiki-1b",
        RepositoryConfig.from_json(PUBLISHED["hibiki-1b"] | {"lm_gen_config": {"top_k": 100}}),
    ),
    "periods without positions": (
        "hibiki-1b",
        RepositoryConfig.from_json(PUBLISHED["hibiki-1b"] | {"depformer_max_period": 10000}),
    ),
}


def test_the_archive_holds_the_designs_of_published_models_and_is_small() -> None:
    designs = {one.key: one for model in CONFIGS for one in published_designs(model)}
    with tarfile.open(ARCHIVE, "r:xz") as members:
        index = read_index(members)
    assert index["templates"].keys() == designs.keys()
    assert index["made_by"].keys() == CONFIGS.keys()
    assert ARCHIVE.stat().st_size < MOST_BYTES


@pytest.mark.parametrize(("model", "config"), FORMS.values(), ids=FORMS)
def test_every_form_of_a_repository_has_the_templates_of_its_model(
    model: str, config: RepositoryConfig
) -> None:
    mimi = config.mimi or MimiConfig.default()
    designs = [design(config, mimi, target, precision) for target, precision in USUAL]
    assert [one.key for one in designs] == [one.key for one in published_designs(model)]


@pytest.mark.parametrize("model", CONFIGS)
def test_a_template_of_the_archive_is_whole(model: str) -> None:
    design = next(published_designs(model))
    template = shipped_template(design)
    assert template is not None
    assert template.graphs.keys() >= {*template.encoder, *template.decoder}
    for graph in template.graphs.values():
        ends = [tensor.offset + tensor.bytes for tensor in graph.tensors]
        starts = [tensor.offset for tensor in graph.tensors]
        assert all(end <= start for end, start in zip(ends, starts[1:], strict=False))
        assert graph.model.startswith(b"\x08")


def test_tracing_makes_what_it_made_for_the_archive() -> None:
    """After a change on purpose: `python -m tests.renew_templates`. While the code that decides is
    the archive's, nothing is traced."""
    made_by, sample = read_digests()
    if set(made_by.values()) != {deciding_digest()}:
        assert sample == sample_digest()


def test_the_digest_of_code_changes_with_what_it_does() -> None:
    lines = ["def add(x):", "    return x + 1"]
    code = code_digest("\n".join(lines))
    noted = ["from math import pi", lines[0], '    """Add one."""', f"{lines[1]}  # the least"]
    assert code_digest("\n".join(noted)) == code
    assert code_digest("\n".join([lines[0], "    return x + 2"])) != code
