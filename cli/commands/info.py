"""`info`: what a bundle is."""

import json
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .. import options

if TYPE_CHECKING:
    from ...runtime.bundle.bundle import Bundle
    from ...runtime.bundle.manifest import GraphSpec, Manifest

app = options.new_app()


@app.command()
@options.with_groups
def info(
    *,
    model: options.NamedModel,
    as_json: options.Json = False,
    general: options.General,
) -> None:
    """Show what a bundle holds.

    Prints its family, sizes, precision, graphs, states and source; --json prints the manifest.
    """
    from ...runtime.bundle.dataclass_json import dump
    from ..load import open_model

    bundle = open_model(model, general.quiet)
    if as_json:
        print(json.dumps(dump(bundle.manifest), indent=2, ensure_ascii=False))
    else:
        print(summary(bundle))


def summary(bundle: "Bundle") -> str:
    """Format a bundle: one line per fact, then one per graph."""
    rows = [*_facts(bundle), *_graphs(bundle)]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:{width}}  {value}" for name, value in rows)


def _facts(bundle: "Bundle") -> Iterator[tuple[str, str]]:
    manifest = bundle.manifest
    source = manifest.source
    yield "name", manifest.name
    yield "family", manifest.family
    yield "folder", str(bundle.path)
    yield "source", source.repository + (f" @ {source.revision}" if source.revision else "")
    yield "made for", f"{manifest.target} ({manifest.flavour} graphs)"
    yield "precision", _precision(manifest)
    yield "needs", f"onnxruntime {manifest.minimum_onnxruntime} or newer"
    yield "size", _bytes(sum(entry.bytes for entry in manifest.files.values()))
    audio, codec = manifest.audio, manifest.codec
    yield "audio", f"{audio.sample_rate} Hz, {audio.frame_rate:g} frames a second"
    yield "codec", f"{codec.codebooks} codebooks of {codec.cardinality}, {codec.precision}"
    if manifest.lm is not None:
        lm = manifest.lm
        yield "streams", f"text of {lm.text_card}, {lm.n_q} of audio, {lm.context} steps of context"
        yield "pauses", f"{lm.extra_heads} extra heads" if lm.extra_heads else "no extra heads"
    if manifest.stt is not None:
        yield "text lags by", f"{manifest.stt.audio_delay_seconds:g} s"


def _precision(manifest: "Manifest") -> str:
    blocks = manifest.quantization
    if blocks is None:
        return manifest.precision
    shape = "symmetric" if blocks.symmetric else "asymmetric"
    return (
        f"{manifest.precision} (blocks of {blocks.block_size}, {shape}; heads "
        f"{blocks.head_bits} bits in blocks of {blocks.head_block_size})"
    )


def _graphs(bundle: "Bundle") -> Iterator[tuple[str, str]]:
    for name, graph in bundle.manifest.graphs.items():
        files = [f for f in (graph.file, graph.data) if f is not None]
        size = _bytes(sum(bundle.manifest.files[file].bytes for file in files))
        ins, outs = (", ".join(p.name for p in ports) for ports in (graph.inputs, graph.outputs))
        states = f"{len(graph.states)} states of {_bytes(_state_bytes(graph))} a stream"
        batch = graph.inputs[0].shape[0]
        fixed = f", batch of {batch}" if isinstance(batch, int) else ""
        elsewhere = f", on {graph.runs_on}" if graph.runs_on else ""
        yield name, f"{ins} -> {outs}; {states}; {size}{fixed}{elsewhere}"


def _state_bytes(graph: "GraphSpec") -> int:
    import numpy as np

    from ...runtime.bundle.manifest import axis_extent

    return sum(
        math.prod(axis_extent(axis, 1, 1) for axis in state.shape[1:])
        * np.dtype(state.dtype).itemsize
        for state in graph.states
    )


def _bytes(count: float) -> str:
    for unit in ("bytes", "KB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"
