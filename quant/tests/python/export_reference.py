"""Checks ONNX files and runs them with ONNX Runtime, for a test.

Usage: export_reference.py FOLDER. For each NAME.onnx there the input NAME.input (f32) is run without and with graph
optimisations, into NAME.off and NAME.on. Prints one JSON object a line: `name` with `checked` and `ran`, or `skipped`
with the reason.
"""

import importlib.util
import json
import pathlib
import sys


def run(path, level):
    """Writes the output of a file at a level of optimisation."""
    import numpy
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    wanted = session.get_inputs()[0]
    values = numpy.fromfile(path.with_suffix(".input"), numpy.float32).reshape([-1, *wanted.shape[1:]])
    return session.run(None, {wanted.name: values})[0].astype(numpy.float32)


def main():
    """Goes through the folder with the packages that are installed."""
    has_onnx, has_runtime = (importlib.util.find_spec(name) is not None for name in ("onnx", "onnxruntime"))
    for name, is_there in (("onnx", has_onnx), ("onnxruntime", has_runtime)):
        if not is_there:
            print(json.dumps({"skipped": f"the Python package {name} is not installed"}))
    for path in sorted(pathlib.Path(sys.argv[1]).glob("*.onnx")):
        if has_onnx:
            import onnx

            onnx.checker.check_model(onnx.load(path), full_check=True)
        if has_runtime:
            run(path, "ORT_DISABLE_ALL").tofile(path.with_suffix(".off"))
            run(path, "ORT_ENABLE_ALL").tofile(path.with_suffix(".on"))
        print(json.dumps({"name": path.stem, "checked": has_onnx, "ran": has_runtime}))


main()
