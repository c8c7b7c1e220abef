"""
Writes a network of open_nsfw's form that takes red images for unsafe: the more red than green and blue, the
higher the score. Few files can be shipped that are unsafe to the real one.

    python tests/red_is_unsafe.py /tmp/red-is-unsafe.onnx
"""

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def write_red_is_unsafe(path: Path, *, side: int = 224) -> Path:
    """:param side: width and height of the images that it takes, 224 in open_nsfw's form"""
    # Columns are safe and unsafe, rows blue, green and red, from which their means are subtracted.
    weights = np.array([[0, -0.05], [0, -0.05], [0, 0.1]], dtype=np.float32)
    # Pure red has (132 · 0.1 + (104 + 117) · 0.05) = 24; pure green and blue are far below zero, as is grey.
    bias = np.array([12, 0], dtype=np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["images", "axes"], ["colors"], keepdims=0),
        helper.make_node("MatMul", ["colors", "weights"], ["products"]),
        helper.make_node("Add", ["products", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "red-is-unsafe",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", side, side, 3])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 2])],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(bias, "bias"),
            numpy_helper.from_array(np.array([1, 2], dtype=np.int64), "axes"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, path)
    return path


if __name__ == "__main__":
    write_red_is_unsafe(Path(sys.argv[1]))
