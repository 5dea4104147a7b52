"""The operator tables are well-formed and true where they can be tried, and the check finds what
a provider lacks."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from packaging.version import Version

from kyutai_onnx.export.graphs.operators import PROVIDERS, Kernel, check_graph, load_table
from kyutai_onnx.export.graphs.operators.element_types import element_types
from kyutai_onnx.export.graphs.operators.signature import ELEMENT_TYPES, signature
from kyutai_onnx.export.graphs.operators.table import parse_versions
from kyutai_onnx.runtime.errors import UsageError

FLOAT, FLOAT16, BFLOAT16 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16
INT64, INT32, UINT8, BOOL = (
    TensorProto.INT64,
    TensorProto.INT32,
    TensorProto.UINT8,
    TensorProto.BOOL,
)
GPU_PROVIDERS = ("cuda", "directml", "webgpu")
Shape = Sequence[int]


def model_of(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, tuple[int, Shape]],
    outputs: Mapping[str, int],
    *,
    opset: int = 18,
    initializers: Sequence[onnx.TensorProto] = (),
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(n, kind, shape) for n, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()],
        initializers,
    )
    domains = {"": opset, "com.microsoft": 1, "example": 1}
    opsets = [helper.make_opsetid(domain, version) for domain, version in domains.items()]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def conv(opset: int, kind: int = FLOAT) -> onnx.ModelProto:
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="conv")
    return model_of(
        [node], {"x": (kind, [1, 2, 8]), "w": (kind, [2, 2, 3])}, {"y": kind}, opset=opset
    )


def matmul(kind: int) -> onnx.ModelProto:
    node = helper.make_node("MatMul", ["a", "b"], ["y"], name="matmul")
    return model_of([node], {"a": (kind, [2, 4]), "b": (kind, [4, 3])}, {"y": kind})


def where(kind: int = FLOAT) -> onnx.ModelProto:
    node = helper.make_node("Where", ["c", "a", "b"], ["y"], name="where")
    inputs = {"c": (BOOL, [4]), "a": (kind, [4]), "b": (kind, [4])}
    return model_of([node], inputs, {"y": kind})


def gather(kind: int = FLOAT) -> onnx.ModelProto:
    node = helper.make_node("Gather", ["table", "index"], ["y"], name="embed")
    return model_of([node], {"table": (kind, [8, 4]), "index": (INT64, [2])}, {"y": kind})


def scatter_nd() -> onnx.ModelProto:
    node = helper.make_node("ScatterND", ["ring", "index", "new"], ["y"], name="write")
    inputs = {"ring": (FLOAT, [8, 4]), "index": (INT64, [1, 1]), "new": (FLOAT, [1, 4])}
    return model_of([node], inputs, {"y": FLOAT})


def tensor_scatter(kind: int = FLOAT) -> onnx.ModelProto:
    node = helper.make_node("TensorScatter", ["ring", "new", "at"], ["y"], name="write", axis=2)
    inputs = {"ring": (kind, [1, 2, 8, 4]), "new": (kind, [1, 2, 1, 4]), "at": (INT64, [1])}
    return model_of([node], inputs, {"y": kind}, opset=24)


def elementwise(operator: str, kind: int, opset: int = 18) -> onnx.ModelProto:
    node = helper.make_node(operator, ["x"], ["y"], name=operator.lower())
    return model_of([node], {"x": (kind, [2, 4])}, {"y": kind}, opset=opset)


def add(kind: int) -> onnx.ModelProto:
    node = helper.make_node("Add", ["a", "b"], ["y"], name="add")
    return model_of([node], {"a": (kind, [4]), "b": (kind, [4])}, {"y": kind})


def loads_on_cpu(model: onnx.ModelProto) -> bool:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception:
        return False
    return True


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_convolution_of_opset_18_runs_on_every_provider(provider: str) -> None:
    assert check_graph(conv(18), provider) == []


def test_a_convolution_of_opset_22_does_not_match_the_open_kernel_of_directml() -> None:
    (found,) = check_graph(conv(22), "directml")
    assert (found.node, found.operator, found.domain) == ("conv", "Conv", "ai.onnx")
    assert found.since_version == 22
    assert {"directml", "Conv", "11+,", "22"} <= set(found.reason.split())
    assert str(found) == f"conv: {found.reason}"


def test_scatter_nd_of_opset_18_runs_on_webgpu_and_cuda_but_not_on_directml() -> None:
    assert check_graph(scatter_nd(), "webgpu") == check_graph(scatter_nd(), "cuda") == []
    (found,) = check_graph(scatter_nd(), "directml")
    assert {"directml", "ScatterND", "16+,", "18"} <= set(found.reason.split())


def test_tensor_scatter_runs_on_cpu_and_cuda_but_not_on_webgpu() -> None:
    assert check_graph(tensor_scatter(), "cpu") == check_graph(tensor_scatter(), "cuda") == []
    (found,) = check_graph(tensor_scatter(), "webgpu")
    assert {"webgpu", "TensorScatter"} <= set(found.reason.split())


@pytest.mark.parametrize(
    "model", [where(), gather(), scatter_nd()], ids=["where", "gather", "scatter"]
)
def test_coreml_takes_no_where_gather_or_scatter(model: onnx.ModelProto) -> None:
    (found,) = check_graph(model, "coreml")
    assert {"coreml", found.operator} <= set(found.reason.split())


def test_a_bfloat16_matrix_product_does_not_run_on_cpu() -> None:
    (found,) = check_graph(matmul(BFLOAT16), "cpu")
    assert found.element_type == "bfloat16"
    taken = "double, float, float16, int32, int64, uint32, uint64"
    assert found.reason == f"cpu runs MatMul 13 with T {taken}, not bfloat16"
    assert check_graph(matmul(BFLOAT16), "cuda") == []


def test_elu_of_opset_22_has_no_kernel_on_cuda() -> None:
    assert check_graph(elementwise("Elu", FLOAT, 18), "cuda") == []
    assert check_graph(elementwise("Elu", FLOAT, 22), "cuda") != []


def test_int64_arithmetic_on_webgpu_takes_an_option() -> None:
    (found,) = check_graph(add(INT64), "webgpu")
    assert found.reason.endswith("not int64; the option enableInt64 adds it")
    assert check_graph(add(INT64), "webgpu", options=["enableInt64"]) == []
    assert check_graph(add(INT64), "directml") == []


def test_an_unknown_provider_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'vulkan': .* cpu, cuda"):
        check_graph(conv(18), "vulkan")


def test_an_operator_of_an_unknown_domain_is_refused() -> None:
    node = helper.make_node("Conv", ["x"], ["y"], name="odd", domain="example")
    model = model_of([node], {"x": (FLOAT, [1])}, {"y": FLOAT})
    (found,) = check_graph(model, "cpu")
    assert {"cpu", "example.Conv"} <= set(found.reason.split())


def test_a_graph_is_read_from_a_file_whose_external_data_is_missing(tmp_path: Path) -> None:
    weight = helper.make_tensor("w", FLOAT, [4, 3], bytes(48), raw=True)
    node = helper.make_node("MatMul", ["a", "w"], ["y"], name="matmul")
    model = model_of([node], {"a": (FLOAT, [2, 4])}, {"y": FLOAT}, initializers=[weight])
    path = tmp_path / "graph.onnx"
    onnx.save(model, path, save_as_external_data=True, location="graph.data", size_threshold=0)
    (tmp_path / "graph.data").unlink()
    assert check_graph(path, "directml") == []


def quantized(kind: int) -> onnx.ModelProto:
    """MatMulNBits, Elu, Cast: two values that ONNX's own inference leaves without a type."""
    nodes = [
        helper.make_node(
            "MatMulNBits",
            ["x", "q", "scale"],
            ["h"],
            name="linear",
            domain="com.microsoft",
            K=32,
            N=4,
            bits=4,
            block_size=32,
        ),
        helper.make_node("Elu", ["h"], ["e"], name="elu"),
        helper.make_node("Cast", ["e"], ["y"], name="cast", to=FLOAT),
    ]
    inputs = {"x": (kind, [1, 32]), "q": (UINT8, [4, 1, 16]), "scale": (kind, [4])}
    return model_of(nodes, inputs, {"y": FLOAT})


def test_types_are_followed_through_operators_that_onnx_does_not_know() -> None:
    types = element_types(quantized(FLOAT16))
    assert types["h"] == types["e"] == "float16"
    for provider in GPU_PROVIDERS:
        assert check_graph(quantized(FLOAT16), provider) == []
    refused = {
        found.node: found.element_type for found in check_graph(quantized(BFLOAT16), "webgpu")
    }
    assert refused == {"linear": "bfloat16", "elu": "bfloat16", "cast": "bfloat16"}


def test_values_of_unknown_type_are_counted() -> None:
    nodes = [
        helper.make_node("Unknown", ["x"], ["h"], name="odd", domain="example"),
        helper.make_node("Elu", ["h"], ["e"], name="elu"),
        helper.make_node("Cast", ["e"], ["y"], name="cast", to=FLOAT),
    ]
    model = model_of(nodes, {"x": (FLOAT, [4])}, {"y": FLOAT})
    unknown, unchecked = (found.reason for found in check_graph(model, "cpu"))
    assert {"cpu", "example.Unknown"} <= set(unknown.split())
    assert unchecked.startswith("2 values ")
    assert unchecked.endswith(" e")


def shape_graph(source: str) -> onnx.ModelProto:
    """ConstantOfShape of `source` and Round of a constant, both of which webgpu lacks."""
    zero = helper.make_tensor("v", INT64, [1], [0])
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"], name="shape"),
        helper.make_node("ConstantOfShape", [source], ["filled"], name="fill", value=zero),
        helper.make_node("Round", ["scale"], ["rounded"], name="round"),
    ]
    inputs = {"x": (FLOAT, [2, 4]), "data": (INT64, [2])}
    outputs = {"filled": INT64, "rounded": FLOAT}
    constants = [
        helper.make_tensor("scale", FLOAT, [1], [1.0]),
        helper.make_tensor("dims", INT64, [1], [3]),
    ]
    return model_of(nodes, inputs, outputs, initializers=constants)


@pytest.mark.parametrize("source", ["dims", "shape"])
def test_shape_computation_may_stay_on_the_cpu(source: str) -> None:
    model = shape_graph(source)
    assert check_graph(model, "webgpu") == []
    without = check_graph(model, "webgpu", allow_shape_nodes=False)
    assert [found.node for found in without] == ["fill", "round"]


def test_the_same_operators_on_data_are_no_shape_computation() -> None:
    assert [found.node for found in check_graph(shape_graph("data"), "webgpu")] == ["fill"]


def test_a_shape_turned_into_floats_is_no_shape_computation() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"], name="shape"),
        helper.make_node("Cast", ["shape"], ["y"], name="cast", to=FLOAT),
    ]
    model = model_of(nodes, {"x": (FLOAT, [2, 4])}, {"y": FLOAT})
    assert [found.node for found in check_graph(model, "webgpu")] == ["cast"]
    assert check_graph(model, "directml") == []


def test_a_weight_that_is_an_input_too_is_no_constant() -> None:
    node = helper.make_node("Round", ["w"], ["y"], name="round")
    weight = helper.make_tensor("w", FLOAT, [1], [1.0])
    folded = model_of([node], {}, {"y": FLOAT}, initializers=[weight])
    replaceable = model_of([node], {"w": (FLOAT, [1])}, {"y": FLOAT}, initializers=[weight])
    assert check_graph(folded, "webgpu") == []
    assert check_graph(replaceable, "webgpu") != []


def test_constants_pass_everywhere() -> None:
    value = helper.make_tensor("v", FLOAT, [1], [1.0])
    nodes = [
        helper.make_node("Constant", [], ["c"], name="constant", value=value),
        helper.make_node("Add", ["x", "c"], ["y"], name="add"),
    ]
    model = model_of(nodes, {"x": (FLOAT, [1])}, {"y": FLOAT})
    assert all(check_graph(model, provider) == [] for provider in PROVIDERS)


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("22+", [22], [21, 23]),
        ("11-21", [11, 16, 21], [10, 22]),
        ("13 18-19 24+", [13, 19, 24], [20, 25]),
    ],
)
def test_versions_match_as_onnxruntime_matches_them(
    text: str, inside: list[int], outside: list[int]
) -> None:
    kernel = Kernel(text, parse_versions(text), {})
    assert all(kernel.runs_version(since) for since in inside)
    assert not any(kernel.runs_version(since) for since in outside)


@pytest.mark.parametrize("text", ["21-11", "0", "x", "11-", "+"])
def test_malformed_versions_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"versions|invalid literal"):
        parse_versions(text)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_entry_of_a_table_fits_a_schema(provider: str) -> None:
    table = load_table(provider)
    assert table.provider == provider
    assert table.source
    for (domain, operator), kernels in table.operators.items():
        assert kernels, f"{operator} is listed without a kernel"
        for kernel in kernels:
            assert versions_with_a_schema(domain, operator, kernel), (provider, operator, kernel)
            assert all(types <= ELEMENT_TYPES and types for types in kernel.types.values())


def versions_with_a_schema(domain: str, operator: str, kernel: Kernel) -> list[int]:
    """The versions of the kernel, current in opsets 17 to 24, that know all its type variables."""
    node = helper.make_node(operator, [], [], domain=domain.removeprefix("ai.onnx"))
    called = [signature(node, {domain: opset}) for opset in range(17, 25)]
    return [
        one.since
        for one in called
        if one is not None
        and kernel.runs_version(one.since)
        and kernel.types.keys() <= {*one.inputs, *one.outputs}
    ]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_constraints_name_operators_or_are_general(provider: str) -> None:
    table = load_table(provider)
    names = {
        name if domain == "ai.onnx" else f"{domain}.{name}" for domain, name in table.operators
    }
    general = {"bfloat16", "float16", "int64", "enableInt64", "shape operators"}
    general |= {"every operator", "later releases", "Gather, Where"}
    assert table.constraints.keys() <= names | general


def test_the_cpu_table_is_not_older_than_the_installed_onnxruntime() -> None:
    described = load_table("cpu").onnxruntime
    assert Version(onnxruntime.__version__) <= Version(described), (
        f"export/graphs/operators/cpu.json describes onnxruntime {described}, and "
        f"{onnxruntime.__version__} is installed: run python tests/renew_operators.py"
    )


@pytest.mark.skipif(
    Version(onnxruntime.__version__) < Version(load_table("cpu").onnxruntime),
    reason=f"the cpu table describes onnxruntime {load_table('cpu').onnxruntime}, a newer one",
)
@pytest.mark.parametrize(
    "model",
    [
        *(matmul(kind) for kind in (FLOAT, FLOAT16, BFLOAT16, INT64)),
        *(where(kind) for kind in (FLOAT, FLOAT16, BFLOAT16, INT64)),
        *(gather(kind) for kind in (FLOAT, BFLOAT16, BOOL)),
        *(conv(opset, kind) for opset in (18, 22) for kind in (FLOAT, FLOAT16, BFLOAT16)),
        *(tensor_scatter(kind) for kind in (FLOAT, FLOAT16, BFLOAT16)),
        *(elementwise(name, kind) for name in ("Elu", "Erf", "Mish") for kind in (FLOAT, BFLOAT16)),
        *(elementwise("Swish", kind, 24) for kind in (FLOAT, FLOAT16, BFLOAT16)),
        *(elementwise("Floor", kind) for kind in (FLOAT16, BFLOAT16)),
    ],
    ids=lambda model: (
        f"{model.graph.node[0].op_type}-{model.graph.output[0].type.tensor_type.elem_type}"
    ),
)
def test_the_cpu_table_says_what_the_installed_onnxruntime_does(model: onnx.ModelProto) -> None:
    assert (check_graph(model, "cpu") == []) == loads_on_cpu(model)
