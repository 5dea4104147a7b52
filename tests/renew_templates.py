"""Trace the templates that come with the package, and print what each takes and the archive's size.

Run: `python -m tests.renew_templates [model ...]` after a change of `export/modules/`,
`export/graphs/`, `export/plan.py` or `export/styles.py`. No weight is read or allocated. With names
only the templates of these models are traced, and those of the others stay as they are. With
`--check` nothing is written: the command exits with 1 if tracing makes anything else than the
archive holds.
"""

import argparse
import ast
import hashlib
import importlib.util
import json
import tarfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path

from benchmarks.configs import PUBLISHED, TRANSFORMERS_MIMI, Config
from kyutai_onnx.conversion.checkpoint.checkpoint import Checkpoint
from kyutai_onnx.conversion.checkpoint.config import MimiConfig, RepositoryConfig
from kyutai_onnx.conversion.checkpoint.pickle_file import InMemory
from kyutai_onnx.conversion.checkpoint.repository import Folder, Repository
from kyutai_onnx.conversion.filling.manifest import DEPTH
from kyutai_onnx.conversion.filling.shipped import (
    ARCHIVE,
    digest_of,
    read_index,
    shipped_template,
    write_archive,
)
from kyutai_onnx.conversion.filling.targets import TARGETS, Precisions
from kyutai_onnx.conversion.filling.template import Design, GraphTemplate, Template, design_of
from kyutai_onnx.export.graphs.graph_template import GraphPlan, graph_template
from kyutai_onnx.export.plan import make_template, plan_bundle
from kyutai_onnx.export.styles import codec_style, lm_style
from kyutai_onnx.runtime.bundle.manifest import Precision
from kyutai_onnx.runtime.bundle.manifest import Target as TargetName
from tests.support.checkpoints import MIMI, SPEAKING, TEXT_ONLY

SHIPPED = (
    "mimi",
    "stt-1b-en_fr",
    "stt-1b-en_fr-candle",
    "stt-2.6b-en",
    "tts-1.6b-en_fr",
    "tts-0.75b-en-public",
    "hibiki-1b",
    "hibiki-1b-context-3000",
    "hibiki-2b",
    "hibiki-zero-3b",
    "moshi-7b",
)
CONFIGS: dict[str, Config] = {
    name: {"mimi": TRANSFORMERS_MIMI, **PUBLISHED}[name] for name in SHIPPED
}
"""The configurations whose templates come with the package."""

USUAL: tuple[tuple[TargetName, Precision], ...] = (
    ("cpu", "int8"),
    ("cpu", "int4"),
    ("webgpu", "fp16"),
    ("directml", "fp16"),
    ("cuda", "fp16"),
    ("coreml", "int8"),
)
"""Targets at their default precisions, and int4 on the CPU."""

DECIDING = (
    "export.plan",
    "export.styles",
    "export.graphs",
    "export.modules",
    "conversion.filling.recipe",
)
"""Modules and packages that decide what tracing makes, beside these libraries."""
LIBRARIES = ("torch", "onnx-ir", "onnxscript")


def published_designs(model: str) -> Iterator[Design]:
    """The designs of a model for the usual targets and precisions; a codec alone is in fp32, and on
    the CPU also in int8."""
    config = RepositoryConfig.from_json(TRANSFORMERS_MIMI if model == "mimi" else PUBLISHED[model])
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


def deciding_digest() -> str:
    """A hash of the code that decides what tracing makes, and of the versions of the libraries that
    it calls."""
    digest = hashlib.sha256()
    for name in LIBRARIES:
        digest.update(metadata.version(name).partition("+")[0].encode())
    for name in DECIDING:
        spec = importlib.util.find_spec(f"kyutai_onnx.{name}")
        assert spec is not None
        folders = map(Path, spec.submodule_search_locations or ())
        files = sorted(file for folder in folders for file in folder.glob("*.py"))
        for file in files or [Path(str(spec.origin))]:
            digest.update(code_digest(file.read_text()).encode())
    return digest.hexdigest()


def code_digest(source: str) -> str:
    """A hash of what the code of a module does: its syntax tree, less docstrings and imports, which
    change as files move."""
    return hashlib.sha256(json.dumps(_described(ast.parse(source))).encode()).hexdigest()


def _described(node: object) -> object:
    if isinstance(node, list):
        return [_described(child) for child in node if not _has_no_effect(child)]
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = (pair for pair in ast.iter_fields(node) if pair[1] not in (None, []))
    return [type(node).__name__, *([name, _described(value)] for name, value in fields)]


def _has_no_effect(node: object) -> bool:
    if isinstance(node, ast.Import | ast.ImportFrom):
        return True
    if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Constant):
        return False
    return isinstance(node.value.value, str)


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
    """Traces templates, and each graph that several have in common once, if it is not in those that
    are kept."""

    def __init__(self, kept: Mapping[Design, Template]) -> None:
        self._graphs: dict[str, GraphTemplate] = {}
        for design, template in kept.items():
            for plan in plan_bundle(design).graphs:
                self._graphs[_made_from(design, plan)] = template.graphs[plan.name]

    def template(self, design: Design) -> Template:
        return make_template(design, trace=lambda plan: self._trace(design, plan))

    def _trace(self, design: Design, plan: GraphPlan) -> GraphTemplate:
        key = _made_from(design, plan)
        if key not in self._graphs:
            self._graphs[key] = graph_template(plan)
        graph = self._graphs[key]
        return replace(graph, spec=replace(graph.spec, runs_on=plan.runs_on))


def _made_from(design: Design, plan: GraphPlan) -> str:
    """All that a graph is made from: its part of the configuration, and how it is written."""
    target, lm = TARGETS[design.target], design.lm
    if plan.weights == "mimi":
        style = codec_style(target, design.precisions.codec)
        config: tuple[object, ...] = (design.mimi, design.codebooks)
    else:
        assert lm is not None
        style = lm_style(target, design.precisions)
        if plan.name == DEPTH:
            lm = replace(lm, transformer=replace(lm.transformer, context=1))
        config = (lm, design.max_speakers, design.candidates)
    written = (type(style.dialect).__name__, replace(style, dialect=None))  # type: ignore[arg-type]
    return repr((plan.name, config, written, plan.sizes, plan.halves))


def kept(models: list[str]) -> dict[Design, Template]:
    """The templates of an archive that is there, of the models that are not named."""
    others = (model for model in CONFIGS if model not in models)
    designs = [one for model in others for one in published_designs(model)]
    found = {one: shipped_template(one) for one in designs}
    return {one: template for one, template in found.items() if template is not None}


def check(models: list[str]) -> int:
    """Compare the archive with what tracing makes; returns the number of templates that differ."""
    tracing, different = Tracing({}), 0
    for model in models:
        for one in published_designs(model):
            same = tracing.template(one) == shipped_template(one)
            print(f"{model} {label(one)}: {'the same' if same else 'DIFFERENT'}", flush=True)
            different += not same
    return different


def label(design: Design) -> str:
    return f"{design.target} {design.precisions.model}"


def renew(models: list[str]) -> None:
    """Trace the templates of models, and write the archive after each."""
    templates = kept(models)
    tracing, today = Tracing(templates), deciding_digest()
    made_by, sample = read_digests()
    if today not in made_by.values():
        sample = sample_digest()
    for model in models:
        for one in published_designs(model):
            started = time.process_time()
            templates[one] = tracing.template(one)
            taken = time.process_time() - started
            print(f"{model} {label(one)}: {taken:.0f} s", flush=True)
        made_by[model] = today
        by_key = {one.key: template for one, template in templates.items()}
        write_archive(ARCHIVE, by_key, made_by, sample)
    print(f"{len(templates)} templates, {ARCHIVE.stat().st_size / 1e6:.2f} MB")


def read_digests() -> tuple[dict[str, str], str]:
    """The digests of the code that traced each model of the archive, and of its sample."""
    with tarfile.open(ARCHIVE, "r:xz") as members:
        index = read_index(members)
    return index["made_by"], index["sample"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", metavar="model", help=f"among {', '.join(CONFIGS)}")
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    arguments = parser.parse_args()
    models = arguments.models or list(CONFIGS)
    if unknown := [model for model in models if model not in CONFIGS]:
        parser.error(f"no model is named {', '.join(unknown)}")
    if arguments.check:
        raise SystemExit(1 if check(models) else 0)
    renew(models)


if __name__ == "__main__":
    main()
