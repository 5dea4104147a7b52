"""Trace the templates that come with the package, and print what each takes and the archive's size.

Run: `python -m tests.renew_templates [model ...]` after a change of `export/modules/`,
`export/graphs/` or `export/plan.py`. No weight is read or allocated. With names only the templates
of these models are traced, and those of the others stay as they are.
"""

import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.configs import PUBLISHED, TRANSFORMERS_MIMI
from kyutai_onnx.conversion.checkpoint.checkpoint import Checkpoint
from kyutai_onnx.conversion.checkpoint.config import MimiConfig, RepositoryConfig
from kyutai_onnx.conversion.checkpoint.pickle_file import InMemory
from kyutai_onnx.conversion.checkpoint.repository import Folder, Repository
from kyutai_onnx.conversion.filling.shipped import (
    ARCHIVE,
    digest_of,
    shipped_template,
    write_archive,
)
from kyutai_onnx.conversion.filling.targets import TARGETS, Precisions, Target
from kyutai_onnx.conversion.filling.template import Design, GraphTemplate, Template, design_of
from kyutai_onnx.export.graphs.graph_template import GraphPlan, graph_template
from kyutai_onnx.export.plan import make_template
from kyutai_onnx.export.styles import DIALECTS
from kyutai_onnx.runtime.bundle.manifest import Precision
from kyutai_onnx.runtime.bundle.manifest import Target as TargetName
from tests.support.checkpoints import MIMI, SPEAKING, TEXT_ONLY

HEADS = "stt-1b-en_fr-candle"
MODELS = ("stt-1b-en_fr", HEADS)
USUAL: tuple[tuple[TargetName, Precision], ...] = (
    ("cpu", "int8"),
    ("cpu", "int4"),
    ("webgpu", "fp16"),
    ("directml", "fp16"),
    ("cuda", "fp16"),
    ("coreml", "int8"),
)
"""Targets at their default precisions, and int4 on the CPU."""


def config_of(model: str) -> RepositoryConfig:
    """The configuration of a published repository."""
    if model == "mimi":
        return RepositoryConfig.from_json(TRANSFORMERS_MIMI)
    config = RepositoryConfig.from_json(PUBLISHED[model.removesuffix("-candle")])
    if model == HEADS:
        assert config.lm is not None
        lm = replace(config.lm, extra_heads_num_heads=4, extra_heads_dim=6)
        config = replace(config, lm=lm)
    return config


def published_designs(model: str) -> Iterator[Design]:
    """The designs of a model for the usual targets and precisions; a codec alone is in fp32, and on
    the CPU also in int8."""
    config = config_of(model)
    for target, precision in USUAL:
        if config.lm is not None:
            yield design(config, MimiConfig.default(), target, precision)
        elif precision != "int4":
            yield design(config, MimiConfig.default(), target, "fp32")
    if config.lm is None:
        yield design(config, MimiConfig.default(), "cpu", "int8")


def design(
    config: RepositoryConfig, mimi: MimiConfig, target: TargetName, precision: Precision
) -> Design:
    """The design of a checkpoint that is not there, none of it in float16."""
    made_for, empty = TARGETS[target], InMemory({})
    repository = Repository("none", Folder(Path()))
    checkpoint = Checkpoint(repository, config, mimi, empty if config.lm else None, empty, None)
    precisions = Precisions(precision, precision)
    if config.lm is not None:
        precisions = Precisions(precision, "fp32", made_for.default_cache(precision))
    return design_of(checkpoint, made_for, precisions)


def sample_digest() -> str:
    """The hash of templates of small models, which changes as those of all models do."""
    mimi = MimiConfig.from_json(MIMI)
    stt, tts = map(RepositoryConfig.from_json, (TEXT_ONLY, SPEAKING))
    samples = (
        design(stt, mimi, "webgpu", "fp16"),
        design(tts, mimi, "cpu", "int8"),
    )
    return digest_of(make_template(sample) for sample in samples)


class Tracing:
    """Traces templates. What a codec's graph or a design of an equal target was traced to is used
    again, also from templates that are kept."""

    def __init__(self, kept: Mapping[Design, Template]) -> None:
        self._codecs: dict[str, GraphTemplate] = {}
        self._templates: dict[str, Template] = {}
        for design, template in kept.items():
            for name, graph in template.graphs.items():
                if graph.weights == "mimi":
                    self._codecs[_codec_key(name, design)] = graph

    def template(self, design: Design) -> Template:
        target = next(n for n, t in TARGETS.items() if alike(t, TARGETS[design.target]))
        first = replace(design, target=target)
        if first.key not in self._templates:
            made = make_template(first, trace=partial(self._trace, first))
            self._templates[first.key] = made
        return replace(self._templates[first.key], target=design.target)

    def _trace(self, design: Design, graph: GraphPlan) -> GraphTemplate:
        if graph.weights == "lm":
            return graph_template(graph)
        key = _codec_key(graph.name, design)
        if key not in self._codecs:
            self._codecs[key] = graph_template(graph)
        return self._codecs[key]


def _codec_key(name: str, design: Design) -> str:
    return f"{name} {design.target} {design.precisions.codec} {design.codebooks}"


def alike(one: Target, other: Target) -> bool:
    """Whether the graphs for two targets are the same."""
    same = replace(one, name=other.name) == other
    return same and DIALECTS[one.name] is DIALECTS[other.name]


def kept(models: list[str]) -> dict[Design, Template]:
    """The templates of an archive that is there, of the models that are not named."""
    others = (model for model in MODELS if model not in models)
    designs = [one for model in others for one in published_designs(model)]
    found = {one: shipped_template(one) for one in designs}
    return {one: template for one, template in found.items() if template is not None}


def main() -> None:
    models = sys.argv[1:] or list(MODELS)
    templates = kept(models)
    sample, tracing = sample_digest(), Tracing(templates)
    for model in models:
        for one in published_designs(model):
            started = time.process_time()
            templates[one] = tracing.template(one)
            taken = time.process_time() - started
            print(f"{model} {one.target} {one.precisions.model}: {taken:.0f} s", flush=True)
        by_key = {one.key: template for one, template in templates.items()}
        write_archive(ARCHIVE, by_key, sample)
    print(f"{len(templates)} templates, {ARCHIVE.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
