"""The element type of every value of a graph, without its weights.

From initializers, graph inputs and outputs and value_info; then by ONNX's inference; then, behind
operators that ONNX does not know, from the type variables of the operators' signatures.
"""

from collections.abc import Iterable, Mapping

import onnx

from .signature import ELEMENT_TYPES, opset_versions, signature


def element_types(model: onnx.ModelProto) -> dict[str, str]:
    """Element type ("float", "int64", …) by value name; a value of unknown type is absent."""
    types = _declared(model.graph)
    if any(name and name not in types for node in model.graph.node for name in node.output):
        inferred = onnx.shape_inference.infer_shapes(_without_weights(model))
        types = _declared(inferred.graph) | types
        _propagate(model.graph.node, opset_versions(model), types)
    return types


def _declared(graph: onnx.GraphProto) -> dict[str, str]:
    values = [*graph.input, *graph.output, *graph.value_info]
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    return {name: _name(number) for name, number in types.items() if number}


def _name(number: int) -> str:
    name: str = onnx.TensorProto.DataType.Name(number)
    return name.lower()


def _without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same nodes with initializers as inputs: types need no data, and data may be large."""
    light = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    graph = light.graph
    graph.name = model.graph.name
    graph.node.extend(model.graph.node)
    graph.output.extend(model.graph.output)
    graph.value_info.extend(model.graph.value_info)
    graph.input.extend(model.graph.input)
    known = {value.name for value in model.graph.input}
    for tensor in model.graph.initializer:
        if tensor.name not in known:
            graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    return light


def _propagate(
    nodes: Iterable[onnx.NodeProto], opsets: Mapping[str, int], types: dict[str, str]
) -> None:
    """Types outputs that are still untyped by the variables that the inputs bind."""
    for node in nodes:
        called = signature(node, opsets)
        if called is None:
            continue
        bound = dict(called.single)
        bound |= {
            variable: types[value] for value, variable in called.input_types(node) if value in types
        }
        for value, variable in called.output_types(node):
            element = variable if variable in ELEMENT_TYPES else bound.get(variable)
            if element is not None:
                types.setdefault(value, element)
