"""A trunk out of a user's own ONNX file, cut at the value that is asked for."""

from collections.abc import Iterable
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, ValueInfoProto, helper, shape_inference

from mygo_edge.bundle.vetting import RefusedGraphError, vet
from mygo_edge.bundle.vision import CHANNELS, Layout, Preparation
from mygo_edge.errors import MygoEdgeError
from mygo_edge.trunks.trunk import Trunk

_IR_VERSION = 10  # the newest that devices' runtimes are sure to read
_FLOATS: dict[int, bool] = {TensorProto.UINT8: False, TensorProto.FLOAT: True}


def load(path: Path, output: str | None, form: Preparation, terms: str) -> Trunk:
    """The part of a graph that makes vectors, as a trunk.

    Args:
        path: of the file, with its weights inside.
        output: the name of the value to take; the graph's only output unless given. Maps of [batch, channels, height,
            width] are averaged over places.
        form: how pictures are prepared. Where the graph fixes its height and width, these stand instead of `size`.
        terms: what is known of the licence.

    Raises:
        MygoEdgeError: no such graph, one that a device would refuse, or another input than pictures.
    """
    model = _model(path)
    names = [value.name for value in model.graph.output]
    if output is None and len(names) > 1:
        raise MygoEdgeError(f"{path} has the outputs {', '.join(names)}: choose one with --trunk.output")
    chosen = output or names[0]
    if chosen not in {name for node in model.graph.node for name in node.output}:
        raise MygoEdgeError(f"{path} makes no value {chosen!r}; its outputs are {', '.join(names)}")
    kept = _cut(model, chosen)
    source, form = _input(kept, form, path)
    features = _vector(kept, chosen, path)
    graph = kept.SerializeToString(deterministic=True)
    try:
        vet(graph)
    except RefusedGraphError as error:
        raise MygoEdgeError(f"{path} {error}") from error
    return Trunk(
        graph=graph,
        input=source.name,
        output=kept.graph.output[0].name,
        features=features,
        form=form,
        floats=_FLOATS[source.type.tensor_type.elem_type],
        name=str(path),
        terms=terms,
    )


def _model(path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load_model(path, load_external_data=False)
        onnx.checker.check_model(model)
        model = shape_inference.infer_shapes(model)
    except OSError:
        raise
    except (DecodeError, onnx.checker.ValidationError, ValueError) as error:
        raise MygoEdgeError(f"{path} is no ONNX model ({error}); export it again, weights inside") from error
    if model.ir_version > _IR_VERSION:
        raise MygoEdgeError(
            f"{path} has IR version {model.ir_version}; devices read up to {_IR_VERSION}: export it older"
        )
    return model


def _cut(model: onnx.ModelProto, output: str) -> onnx.ModelProto:
    """The nodes, weights and inputs that `output` needs, and no other output."""
    needed, nodes = {output}, []
    for node in reversed(model.graph.node):
        if needed & set(node.output):
            nodes.append(node)
            needed |= {name for name in node.input if name}
    cut = onnx.ModelProto()
    cut.CopyFrom(model)
    for field in ("node", "initializer", "input", "output", "value_info"):
        cut.graph.ClearField(field)
    del cut.metadata_props[:]
    cut.graph.node.extend(reversed(nodes))
    cut.graph.initializer.extend(_named(model.graph.initializer, needed))
    cut.graph.input.extend(_named(model.graph.input, needed - {weight.name for weight in model.graph.initializer}))
    known = list(_named([*model.graph.output, *model.graph.value_info], {output}))
    cut.graph.output.append(known[0] if known else helper.make_empty_tensor_value_info(output))
    return cut


def _named(values: Iterable, names: set[str]) -> Iterable:
    return (value for value in values if value.name in names)


def _input(model: onnx.ModelProto, form: Preparation, path: Path) -> tuple[ValueInfoProto, Preparation]:
    """The graph's one input, and the form with the graph's layout and fixed sides."""
    expected = f"{path} must take one input of pictures, uint8 or float32, [batch, 3, height, width]"
    if len(model.graph.input) != 1:
        raise MygoEdgeError(f"{expected}; it takes {len(model.graph.input)} inputs")
    source = model.graph.input[0]
    tensor = source.type.tensor_type
    if tensor.elem_type not in _FLOATS or len(tensor.shape.dim) != 4:
        raise MygoEdgeError(f"{expected}; {source.name} is another")
    sides = [dim.dim_value for dim in tensor.shape.dim]  # 0 where it is free
    layout: Layout = "NHWC" if sides[1] != CHANNELS and sides[3] == CHANNELS else "NCHW"
    channels, height, width = sides[1:] if layout == "NCHW" else (sides[3], sides[1], sides[2])
    if channels not in (0, CHANNELS):
        raise MygoEdgeError(f"{expected}; {source.name} has {channels} channels")
    if sides[0]:
        raise MygoEdgeError(f"{expected}; its batch is fixed to {sides[0]}: export it with a free first axis")
    size = (height or form.size[0], width or form.size[1])
    resize = form.resize if size == form.size or form.resize is None else min(size)
    return source, Preparation(size, resize, form.interpolation, form.mean, form.std, layout)


def _vector(model: onnx.ModelProto, output: str, path: Path) -> int:
    """Make the output a vector [batch, features]; the number of features."""
    shape = [dim.dim_value for dim in model.graph.output[0].type.tensor_type.shape.dim]
    if len(shape) == 4 and shape[1]:
        pooled, vector = f"{output}.pooled", f"{output}.vector"
        model.graph.node.append(helper.make_node("GlobalAveragePool", [output], [pooled], name=pooled))
        model.graph.node.append(helper.make_node("Flatten", [pooled], [vector], name=vector, axis=1))
        output = vector
    elif len(shape) != 2 or not shape[1]:
        raise MygoEdgeError(
            f"{path}: {output!r} has shape {shape or 'unknown'}; choose a vector or maps of known width"
        )
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", shape[1]]))
    return shape[1]
