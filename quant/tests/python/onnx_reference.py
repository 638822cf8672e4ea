"""Writes ONNX networks that ship inside Python packages, with inputs and ONNX Runtime's outputs, for a test.

Usage: onnx_reference.py FOLDER. Prints one JSON object a line: the files of each network, or `skipped` with the reason.
The topologies of the package `onnx` have weights that are all equal; here they get seeded random ones, except for the
largest, which would only make the files large.
"""

import importlib.util
import json
import pathlib
import sys

RANDOM_ELEMENTS_MAX = 5_000_000
"""Weights with more values than this keep the constant that the package's file gives them."""


def random_weights(model, numpy, onnx):
    """Replaces the results of ConstantOfShape by random initializers of a scale that keeps activations near 1."""
    generator = numpy.random.default_rng(7)
    shapes = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    kept = []
    for node in model.graph.node:
        shape = [int(extent) for extent in shapes[node.input[0]]] if node.op_type == "ConstantOfShape" else None
        if shape is None or numpy.prod(shape) > RANDOM_ELEMENTS_MAX:
            kept.append(node)
            continue
        if len(shape) > 1:
            values = generator.normal(0.0, (2.0 / numpy.prod(shape[1:])) ** 0.5, shape)
        else:
            values = generator.uniform(0.5, 1.5, shape)
        tensor = onnx.numpy_helper.from_array(values.astype(numpy.float32), node.output[0])
        model.graph.initializer.append(tensor)
    # Earlier versions of the format want every initializer to be an input as well.
    model.ir_version = 8
    last = kept[-1]
    if last.op_type == "Softmax":
        # Random weights give logits far apart; behind the softmax one of them alone would be compared.
        model.graph.output[0].name = last.input[0]
        kept.pop()
    del model.graph.node[:]
    model.graph.node.extend(kept)


def output_of(path, name, image):
    """Returns ONNX Runtime's output, computed as the file says it, or None without ONNX Runtime."""
    if importlib.util.find_spec("onnxruntime") is None:
        return None
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, {name: image})[0]


def describe(folder, path, shape, numpy, onnx):
    """Writes input and output beside a network and returns what the test needs to know."""
    model = onnx.load(path)
    weights = {tensor.name for tensor in model.graph.initializer}
    name = next(value.name for value in model.graph.input if value.name not in weights)
    image = numpy.random.default_rng(3).uniform(-1.0, 1.0, [1, *shape]).astype(numpy.float32)
    known = {"name": path.stem, "model": str(path), "shape": shape, "input": str(folder / f"{path.stem}.input")}
    image.tofile(known["input"])
    output = output_of(path, name, image)
    if output is not None:
        known["output"] = str(folder / f"{path.stem}.output")
        output.astype(numpy.float32).tofile(known["output"])
    return known


def main():
    """Goes through the packages that are installed."""
    folder = pathlib.Path(sys.argv[1])
    if importlib.util.find_spec("onnx") is None:
        print(json.dumps({"skipped": "the Python package onnx is not installed"}))
        return
    import numpy
    import onnx

    light = pathlib.Path(onnx.__file__).parent / "backend/test/data/light"
    for path in sorted(light.glob("light_*.onnx")):
        model = onnx.load(path)
        random_weights(model, numpy, onnx)
        own = folder / path.name
        onnx.save(model, own)
        print(json.dumps({"shipped": str(path), **describe(folder, own, [3, 224, 224], numpy, onnx)}))
    spec = importlib.util.find_spec("rapidocr_onnxruntime")
    if spec is None:
        print(json.dumps({"skipped": "the Python package rapidocr_onnxruntime is not installed"}))
        return
    models = pathlib.Path(spec.submodule_search_locations[0]) / "models"
    sizes = {"cls": [3, 48, 192], "det": [3, 64, 64], "rec": [3, 48, 320]}
    for path in sorted(models.glob("*.onnx")):
        size = next(size for part, size in sizes.items() if f"_{part}_" in path.name)
        print(json.dumps(describe(folder, path, size, numpy, onnx)))


main()
