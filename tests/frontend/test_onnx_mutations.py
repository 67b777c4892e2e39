"""Mutated ONNX files are read or refused in one line, without growth of memory.

``PYTHONPATH=tests python -W ignore tests/frontend/test_onnx_mutations.py 10000`` is the long form.
"""

from __future__ import annotations

import random
import resource
import sys

import numpy as np
import onnx
import pytest
from onnx_files import network, node, numbers
from quantized_files import QONNX, File

from fxp import from_quantized_onnx
from fxp.frontend import FrontendError, load_onnx

MEMORY = 400 << 10
"""Most KiB that the process may grow by: small files may compute tensors of 2**22 numbers."""
EXTREMES = (-(1 << 63), -(1 << 31), -3, -1, 0, 1, 2, 7, 1 << 16, 1 << 31, (1 << 63) - 1)


def quantized() -> onnx.ModelProto:
    """Return a network with quantizers of QONNX and of the standard."""
    file = File(1, 2, 6, 6)
    x = file.quant("x", 2**-5, 8)
    kernel = file.quant(numbers(3, 2, 3, 3), np.float32([0.5, 0.25, 1]).reshape(3, 1, 1, 1), 4)
    x = file.add("Conv", x, kernel, file.quant(numbers(3), 2**-7, 12), pads=[1, 1, 1, 1])
    step, zero = np.float32(0.25), np.int8(0)
    x = file.add("QuantizeLinear", file.add("Relu", x), step, zero)
    x = file.add("MaxPool", file.add("Clip", x, np.int8(-7), np.int8(7)), kernel_shape=[2, 2])
    x = file.add("Flatten", file.add("DequantizeLinear", x, step, zero))
    matrix = file.add("DequantizeLinear", np.int8(numbers(75, 2) * 9), step, zero)
    return file.model(file.quant(file.add("Gemm", x, matrix), 1, 6, narrow=1))


def integers() -> onnx.ModelProto:
    """Return a network of ONNX Runtime's operations on integers, with a zero point."""
    file = File(1, 2, 6, 6)
    fine, coarse, zero = np.float32(2**-5), np.float32(0.25), np.uint8(128)
    kernel = np.uint8(numbers(3, 2, 3, 3) * 9 + 128)
    x = file.add("QuantizeLinear", "x", fine, zero)
    given = (kernel, np.float32([0.5, 0.25, 1]), np.full(3, zero), coarse, zero)
    x = file.add("QLinearConv", x, fine, zero, *given, np.int32(numbers(3) * 99), pads=[1, 1, 1, 1])
    y = file.add("MaxPool", x, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    x = file.add("QLinearConcat", coarse, zero, x, coarse, zero, y, coarse, zero, axis=1)
    x = file.add("Flatten", x)
    matrix = np.uint8(numbers(4, 216) * 9 + 128)
    x = file.add("QGemm", x, coarse, zero, matrix, fine, zero, np.int32(numbers(4) * 99), coarse,
                 zero, transB=1)  # fmt: skip
    return file.model(file.add("DequantizeLinear", x, coarse, zero))


def shifted() -> onnx.ModelProto:
    """Return a network whose quantizers have zero points off the center, odd ones among them."""
    file = File(1, 2, 6, 6)
    fine, coarse = np.float32(2**-5), np.float32(0.25)
    x = file.add("QuantizeLinear", "x", fine, np.uint8(101))
    x = file.add("DequantizeLinear", x, fine, np.uint8(101))
    kernel = file.add("DequantizeLinear", np.int8(numbers(3, 2, 3, 3) * 9), fine, np.int8(0))
    x = file.add("Conv", x, kernel, pads=[1, 1, 1, 1])
    x = file.add("QuantizeLinear", x, coarse, np.int8(-31))
    x = file.add("QLinearAdd", x, coarse, np.int8(-31), x, coarse, np.int8(-31), coarse,
                 np.int8(5), domain="com.microsoft")  # fmt: skip
    x = file.add("DequantizeLinear", x, coarse, np.int8(5))
    given = (np.float32(0.5), np.float32(7), np.float32(4))
    return file.model(file.add("Quant", x, *given, domain=QONNX, signed=0, rounding_mode="ROUND"))


def function() -> onnx.ModelProto:
    """Return a network that defines functions, one of which calls the other."""
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("own", 1)]
    slope = onnx.helper.make_node("LeakyRelu", ["a"], ["b"])
    slope.attribute.add(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT)
    inner = onnx.helper.make_function("own", "Leak", ["a"], ["b"], [slope], opsets, ["slope"])
    body = [node("Leak", "a", to="c", domain="own", slope=0.5), node("Add", "a", "c", to="b")]
    outer = onnx.helper.make_function("own", "Both", ["a"], ["b"], body, opsets)
    model = network(
        [
            node("Both", "x", to="r", domain="own"),
            node("Conv", "r", "w", to="c", pads=[1, 1, 1, 1]),
            node("Both", "c", domain="own", name="last"),
        ],
        ("N", 2, 8, 8), {"w": numbers(3, 2, 3, 3)},
    )  # fmt: skip
    model.functions.extend([inner, outer])
    model.opset_import.append(opsets[1])
    return model


SEEDS = [
    quantized(),
    integers(),
    shifted(),
    network(
        [
            node("Conv", "x", "w", "b", to="c", pads=[1, 1, 1, 1], strides=[1, 1]),
            node("LeakyRelu", "c", to="r", alpha=0.2),
            node("MaxPool", "r", to="p", kernel_shape=[2, 2], strides=[2, 2]),
            node("Resize", "p", "", "s", to="u"),
            node("Pad", "u", "q", to="d"),
            node("Reshape", "d", "f", to="g"),
            node("Gemm", "g", "m", transB=1),
        ],
        ("N", 2, 8, 8),
        {
            "w": numbers(3, 2, 3, 3), "b": numbers(3), "s": np.float32([1, 1, 2, 2]),
            "q": np.array([0, 0, 1, 0, 0, 0, 0, 1]), "f": np.array([1, -1]), "m": numbers(2, 243),
        },
    ),
    network(
        [
            node("Shape", "x", to="z"),
            node("Slice", "z", "two", "four", to="hw"),
            node("Mul", "hw", "twice", to="big"),
            node("Concat", "nc", "big", to="sizes", axis=0),
            node("Resize", "x", "", "", "sizes", to="r"),
            node("ConvTranspose", "r", "w", to="t", strides=[2, 2], pads=[1, 0, 0, 1]),
            node("Split", "t", to="y", axis=1),
        ],
        ("N", 2, 6, 6),
        {
            "two": np.array([2]), "four": np.array([4]), "twice": np.array([2]),
            "nc": np.array([1, 2]), "w": numbers(2, 1, 2, 2),
        },
    ),
    network(
        [
            node("Resize", "half", "", "s", to="u"),
            node("Conv", "x", "w", to="c", pads=[1, 1, 1, 1], strides=[1, 1]),
            node("Add", "c", "u"),
        ],
        ("N", 2, "H", "W"),
        {"s": np.float32([1, 1, 2, 2]), "w": numbers(2, 2, 3, 3)},
        inputs=("x", "half"),
    ),
    function(),
]  # fmt: skip


def mutated(rng: random.Random) -> onnx.ModelProto | bytes:
    """Return a damaged file, as bytes, or a model with some fields changed."""
    model = onnx.ModelProto()
    model.CopyFrom(rng.choice(SEEDS))
    if rng.random() < 0.4:
        data = bytearray(model.SerializeToString())
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        return bytes(data[: rng.randrange(1, len(data))] if rng.random() < 0.3 else data)
    for _ in range(rng.randint(1, 3)):
        _mutate(model.graph, rng)
    return model


def _mutate(graph: onnx.GraphProto, rng: random.Random) -> None:
    extreme = rng.choice(EXTREMES)
    chosen = rng.choice(graph.node)
    kind = rng.randrange(6)
    if kind == 0:
        tensor = rng.choice(graph.initializer)
        if tensor.dims:
            tensor.dims[rng.randrange(len(tensor.dims))] = max(extreme, 0)
    elif kind == 1:
        tensor = rng.choice(graph.initializer)
        values = np.frombuffer(tensor.raw_data, np.uint8).copy()
        values[rng.randrange(len(values)) :][:8] = rng.choice((0, 1, 127, 255))
        tensor.raw_data = values.tobytes()
    elif kind == 2:
        size = rng.choice(graph.input).type.tensor_type.shape.dim[rng.randrange(4)]
        size.dim_value = extreme
    elif kind == 3 and chosen.attribute:
        attribute = rng.choice(chosen.attribute)
        if attribute.ints:
            attribute.ints[rng.randrange(len(attribute.ints))] = extreme
        else:
            attribute.i, attribute.type = extreme, onnx.AttributeProto.INT
    elif kind == 4:
        names = [name for each in graph.node for name in (*each.input, *each.output)]
        chosen.input[rng.randrange(len(chosen.input))] = rng.choice(names)
    else:
        chosen.op_type = rng.choice([each.op_type for seed in SEEDS for each in seed.graph.node])


def check(count: int, seed: int, folder: str) -> dict[str, int]:
    """Read mutated files; return how many were read and refused."""
    rng = random.Random(seed)
    path = f"{folder}/mutated.onnx"
    found = {"read": 0, "refused": 0}
    for model in SEEDS[3:]:
        load_onnx(model)
    for seed_model in SEEDS[:3]:
        from_quantized_onnx(seed_model)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(count):
        made = mutated(rng)
        data = made if isinstance(made, bytes) else made.SerializeToString()
        with open(path, "wb") as file:
            file.write(data)
        is_quantized = any(name in data for name in (b"Quant", b"Linear", b"QGemm"))
        try:
            (from_quantized_onnx if is_quantized else load_onnx)(path)
        except FrontendError as error:
            told = str(error)
            found["refused"] += 1
        except BaseException:
            print("mutation", number, "of seed", seed)
            raise
        else:
            told = "mutated.onnx: "
            found["read"] += 1
        assert "\n" not in told, f"mutation {number} of seed {seed}: {told!r}"
        assert told.startswith("mutated.onnx: "), f"mutation {number} of seed {seed}: {told!r}"
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert grown < MEMORY, f"mutation {number} of seed {seed} takes {grown} KiB"
    return found


@pytest.mark.filterwarnings("ignore")
def test_mutated_files_are_read_or_refused(tmp_path) -> None:
    found = check(80, 1, str(tmp_path))
    assert found["read"] > 3
    assert found["refused"] > 20


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as temporary:
        print(check(int(sys.argv[1]), 2, temporary))
