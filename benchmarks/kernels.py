"""What the kernels cost that a step is made of, each format beside the others.

    python -m benchmarks.kernels [--threads 2]

Products: microseconds of a million weights, 2048 inputs to 8192 outputs, by the number of rows. The
layers of a run have numbers of their own, since ONNX Runtime holds equal ones once, and are larger
together than any cache. Attention: milliseconds of sixteen layers of sixteen heads of 128, by the
streams and the length of the KV cache.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import onnxruntime
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from kyutai_onnx.runtime.providers.provider import PROVIDERS, session_options

Array = np.ndarray[Any, Any]
INPUTS, OUTPUTS, RUNS = 2048, 8192, 12
HELD = 320 << 20
"""Bytes of weights in a run, at least."""
ROWS = (1, 2, 4, 8, 16)
HEADS, HEAD_DIM, DEPTH = 16, 128, 16
CACHES = ((1, 750), (1, 1500), (4, 750))
TYPES = {"fp32": np.float32, "fp16": np.float16, "int8": np.int8, "int4": np.uint8}
NOISE = np.random.default_rng(0)


@dataclass(frozen=True)
class Product:
    """A way to write a layer, `bits` for each weight: `node` takes its name and returns it with its
    weights."""

    name: str
    bits: int
    node: Callable[[str], tuple[NodeProto, list[TensorProto]]]

    @property
    def layers(self) -> int:
        """How many of them are `HELD` bytes."""
        return -(-8 * HELD // (self.bits * INPUTS * OUTPUTS))


def products() -> Iterator[Product]:
    for size in (32, 64, 128):
        node = partial(blocks, bits=4, size=size, symmetric=False)
        yield Product(f"int4 asymmetric, blocks of {size}", 4, node)
    for bits, size in ((4, 64), (4, 128), (4, 256), (8, 32), (8, 128)):
        node = partial(blocks, bits=bits, size=size, symmetric=True)
        yield Product(f"int{bits} symmetric, blocks of {size}", bits, node)
    yield Product("int8 times int8, a scale a column", 8, columns)
    yield Product("fp32", 32, plain)


def blocks(
    name: str, bits: int, size: int, *, symmetric: bool
) -> tuple[NodeProto, list[TensorProto]]:
    count = INPUTS // size
    packed = NOISE.integers(0, 255, (OUTPUTS, count, size * bits // 8), np.uint8)
    scales = NOISE.random((OUTPUTS, count), np.float32) * np.float32(1e-3)
    attributes = {"K": INPUTS, "N": OUTPUTS, "bits": bits, "block_size": size, "accuracy_level": 4}
    arrays = {f"{name}.packed": packed, f"{name}.scales": scales}
    if not symmetric:
        arrays[f"{name}.zeros"] = NOISE.integers(0, 255, (OUTPUTS, count * bits // 8), np.uint8)
    return made("MatMulNBits", name, arrays, **attributes)


def columns(name: str) -> tuple[NodeProto, list[TensorProto]]:
    weight = NOISE.integers(-127, 127, (INPUTS, OUTPUTS), np.int8)
    scales = NOISE.random(OUTPUTS, np.float32) * np.float32(1e-3)
    arrays = {f"{name}.weight": weight, f"{name}.scales": scales}
    return made("DynamicQuantizeMatMul", name, arrays)


def plain(name: str) -> tuple[NodeProto, list[TensorProto]]:
    weight = NOISE.standard_normal((INPUTS, OUTPUTS), np.float32)
    return made("MatMul", name, {f"{name}.weight": weight}, domain="")


def made(
    operator: str, name: str, arrays: dict[str, Array], domain: str = "com.microsoft", **more: int
) -> tuple[NodeProto, list[TensorProto]]:
    node = helper.make_node(operator, ["x", *arrays], [name], domain=domain, **more)
    return node, [numpy_helper.from_array(array, name) for name, array in arrays.items()]


def model(nodes: list[NodeProto], ports: list[Any], results: list[Any], weights: Any) -> ModelProto:
    graph = helper.make_graph(nodes, "kernels", ports, results, weights)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def opened(made_of: ModelProto, threads: int) -> Any:
    options = session_options(PROVIDERS["cpu"], threads)
    return onnxruntime.InferenceSession(made_of.SerializeToString(), options)


def median(run: Callable[[], object]) -> float:
    """Seconds of a run, after two that are not counted."""
    taken = []
    for _ in range(RUNS):
        started = time.perf_counter()
        run()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken[2:])


def time_product(product: Product, threads: int) -> list[float]:
    layers = [product.node(f"y{index}") for index in range(product.layers)]
    info = helper.make_tensor_value_info
    results = [info(f"y{n}", TensorProto.FLOAT, ["rows", OUTPUTS]) for n in range(product.layers)]
    session = opened(
        model(
            [node for node, _ in layers],
            [info("x", TensorProto.FLOAT, ["rows", INPUTS])],
            results,
            [weight for _, weights in layers for weight in weights],
        ),
        threads,
    )
    found = []
    for rows in ROWS:
        fed = {"x": NOISE.standard_normal((rows, INPUTS), np.float32)}
        seconds = median(lambda f=fed: session.run(None, f))
        found.append(1e12 * seconds / (product.layers * INPUTS * OUTPUTS))
    return found


def time_cache(kind: str, streams: int, length: int, threads: int) -> float:
    """Milliseconds of all layers, their caches updated in place."""
    inner = np.float16 if kind == "fp16" else np.float32
    element = helper.np_dtype_to_tensor_dtype(np.dtype(inner))
    info = helper.make_tensor_value_info
    fed: dict[str, Array] = {
        "x": NOISE.standard_normal((streams, 1, HEADS * HEAD_DIM)).astype(inner),
        "bias": np.zeros((streams, 1, 1, length), inner),
        "last": np.full(streams, length - 1, np.int32),
        "length": np.array(length, np.int32),
    }
    attributes: dict[str, Any] = {"num_heads": HEADS, "kv_num_heads": HEADS}
    extra, weights = [], []
    if kind.startswith("int"):
        steps = np.full((1, HEADS, 1, HEAD_DIM), 0.03, np.float32)
        weights, extra = [numpy_helper.from_array(steps, "steps")], ["steps", "steps"]
        quantised = {"k_quant_type": "PER_CHANNEL", "v_quant_type": "PER_CHANNEL"}
        attributes |= quantised | {"kv_cache_bit_width": int(kind.removeprefix("int"))}
    width = HEAD_DIM // 2 if kind == "int4" else HEAD_DIM
    nodes, results, source = [], [], "x"
    for layer in range(DEPTH):
        rings = [f"{layer}.keys", f"{layer}.values"]
        for ring in rings:
            fed[ring] = NOISE.integers(0, 100, (streams, HEADS, length, width)).astype(TYPES[kind])
            ring_type = helper.np_dtype_to_tensor_dtype(np.dtype(TYPES[kind]))
            results.append(info(f"{ring}.next", ring_type, fed[ring].shape))
        taken = [source, "x", "x", *rings, "last", "length", "", "", "", "bias", "", *extra]
        source = f"y{layer}"
        outputs = [source, *(f"{ring}.next" for ring in rings)]
        nodes.append(
            helper.make_node(
                "GroupQueryAttention", taken, outputs, domain="com.microsoft", **attributes
            )
        )
    results.append(info(source, element, fed["x"].shape))
    ports = [
        info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in fed.items()
    ]
    session = opened(model(nodes, ports, results, weights), threads)
    values = {n: onnxruntime.OrtValue.ortvalue_from_numpy(array) for n, array in fed.items()}
    binding = session.io_binding()
    for name, value in values.items():
        binding.bind_ortvalue_input(name, value)
        if name.endswith(("keys", "values")):
            binding.bind_ortvalue_output(f"{name}.next", value)
    binding.bind_output(source)
    return 1e3 * median(lambda: session.run_with_iobinding(binding))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    threads = parser.parse_args().threads
    print("| a million weights, µs | " + " | ".join(f"{rows} rows" for rows in ROWS) + " |")
    print("|---" * (1 + len(ROWS)) + "|")
    for product in products():
        cells = " | ".join(f"{value:.0f}" for value in time_product(product, threads))
        print(f"| {product.name} | {cells} |", flush=True)
    print("\n| KV cache, ms | " + " | ".join(f"{s} x {n} entries" for s, n in CACHES) + " |")
    print("|---" * (1 + len(CACHES)) + "|")
    for kind in TYPES:
        cells = " | ".join(f"{time_cache(kind, s, n, threads):.1f}" for s, n in CACHES)
        print(f"| {kind} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
