"""What this machine can do: how fast memory is read, and how fast matrices are multiplied."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

from kyutai_onnx.runtime.providers.memory_speed import read_bandwidth

GEMM = (512, 2048, 2048)
TRIES = 7


@dataclass(frozen=True)
class Machine:
    """Bytes read a second from memory, and fp32 multiplications a second, by so many threads."""

    read_bandwidth: float
    multiplications: float
    threads: int


def busy_seconds() -> float:
    """Time that the processors of this machine have spent on anything, or were kept from it."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    user, nice, system, _idle, _waiting, *interrupts = map(int, fields[1:9])
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")


def measure_machine(threads: int) -> Machine:
    """The best of several tries of each."""
    return Machine(read_bandwidth(threads), multiplications(threads), threads)


def multiplications(threads: int) -> float:
    """What ONNX Runtime's own matrix product reaches in fp32."""
    m, k, n = GEMM
    noise = np.random.default_rng(0)
    weight = noise.standard_normal((k, n), np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "gemm",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [m, k])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [m, n])],
        [helper.make_tensor("w", TensorProto.FLOAT, [k, n], weight.tobytes(), raw=True)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    x = noise.standard_normal((m, k), np.float32)
    return m * k * n / min(timed(lambda: session.run(None, {"x": x})) for _ in range(TRIES))


def timed(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
