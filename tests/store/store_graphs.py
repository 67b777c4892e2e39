"""Hand-made integer graphs that together use every op.

Run as a program, this writes the golden file of the present version of the file format.
"""

from pathlib import Path

import numpy as np

from fxp.formats import Format, Overflow, Quantization, Rounding, quantize
from fxp.graph import Constant, Graph, Node, State, Value
from fxp.graph.extents import Extent
from fxp.graph.ops import (
    REGISTRY,
    AdaptiveAveragePool,
    AdaptiveMaxPool,
    Add,
    AveragePool,
    BicubicUpsample,
    BilinearUpsample,
    Clamp,
    Concat,
    ConstantPad,
    Conv2d,
    ConvTranspose2d,
    DilatedMaxPool,
    Flatten,
    Flip,
    FunctionTable,
    GatherChannels,
    GlobalAveragePool,
    GlobalMaxPool,
    GroupNorm,
    Interpolate,
    L2Norm,
    Linear,
    LineCodec,
    LocalResponseNorm,
    MaxPool,
    MaxPoolIndices,
    MaxUnpool,
    Multiply,
    Nearest,
    Op,
    Pad,
    Part,
    PixelShuffle,
    PixelUnshuffle,
    Prelu,
    ReduceMax,
    ReduceMean,
    ReduceSum,
    Relu,
    Requantize,
    Sigmoid,
    Sign,
    Slice,
    Softmax,
    SoftThreshold,
    SpatialConcat,
    StandardDeviation,
    StoredTable,
    Subtract,
    SumPool,
    Tanh,
    Transpose,
    Unflatten,
    Variance,
)
from fxp.graph.ops.base import Operand
from fxp.store import FORMAT_VERSION, graph_file

GOLDEN_METADATA = {"licence": "Apache-2.0", "Größe": "2 µm", "": 'a "quoted"\n\0 text'}
H, W = Extent("H"), Extent("W")
PIXEL = Format(8, 4)
WIDE = Quantization(Format(12, 6))


def every_op() -> Graph:
    """One graph with every op, two inputs, two states, many outputs and all constant dtypes."""
    random = np.random.default_rng(7)
    weight_formats = tuple(Format(8, frac) for frac in (7, 6, 7, 9))
    bias_formats = tuple(Format(30, form.frac + PIXEL.frac) for form in weight_formats)
    nodes: list[Node] = []

    def put(name: str, op: Op, *inputs: str, kind: Quantization = WIDE) -> str:
        nodes.append(Node(name, op, inputs, kind, origin=f"model.{name}"))
        return name

    conv = put("conv", Conv2d(padding=(1, 1, 1, 1), padding_mode="reflect"), "x", "w", "b")
    put("add", Add(), conv, "memory")
    put("subtract", Subtract(), "add", "y")
    put("multiply", Multiply(), "subtract", "gain")
    put("requantize", Requantize(), "multiply",
        kind=Quantization(PIXEL, Rounding.HALF_EVEN, Overflow.WRAP_SIGN_MAGNITUDE))  # fmt: skip
    put("relu", Relu(), "requantize", kind=Quantization(Format(8, 5, False), Rounding.FLOOR))
    put("clamp", Clamp(low=-0.5), "requantize")
    put("clamp6", Clamp(0.0, 6.0), "requantize")
    put("prelu", Prelu(), "clamp", "slopes")
    put("sigmoid", Sigmoid(), "relu", "sigmoid.table")
    put("tanh", Tanh(), "requantize", "tanh.table", kind=Quantization(PIXEL))
    put("concat", Concat(), "prelu", "sigmoid", "clamp6")
    put("channels", Slice("channel", 2, 10, 2), "concat")
    put("rows", Slice("row", 1, -1), "channels")
    put("padded", Pad((2, 0, 1, 1), "replicate"), "rows")
    put("pooled", MaxPool((3, 3), (2, 2), (1, 1, 1, 1)), "padded")
    put("where", MaxPoolIndices(), "x", kind=Quantization(Format(2, 0, False)))
    put("unpooled", MaxUnpool(output_padding=(1, 0)), "where", "where")
    put("average", AveragePool((2, 3), (2, 1), count_padding=False), "padded")
    put("stored", LineCodec(), "average")
    put("deep", PixelUnshuffle(2), "x")
    put("shallow", PixelShuffle(4), "deep")
    put("nearest", Nearest(3), "shallow")
    put("bilinear", BilinearUpsample(), "pooled")
    put("bicubic", BicubicUpsample(-0.75, "replicate"), "stored")
    put("peak", GlobalMaxPool(), "bilinear")
    put("dilated", DilatedMaxPool((1, 1), (1, 1)), "bicubic")
    put("summed", SumPool((1, 1), (1, 1), divisor=3), "dilated")
    put("bordered", ConstantPad((1, 0, 2, 0), 0.25), "summed")
    put("resized", Interpolate("bicubic", align_corners=True), "bordered", "x")
    put("thirds", AdaptiveAveragePool((3, 2)), "resized")
    put("maxima", AdaptiveMaxPool((2, 3)), "thirds")
    put("mean", GlobalAveragePool(), "maxima")
    put("both", Concat(), "peak", "mean")
    put("flat", Flatten(), "both")
    put("counted", Add(), "flat", "count")
    put("scores", Linear(), "counted", "matrix", "offsets", kind=Quantization(Format(40, 20)))
    put("curve", StoredTable(), "requantize", "curve.table", kind=Quantization(PIXEL))
    put("shrunk", SoftThreshold(), "curve", "thresholds", kind=Quantization(PIXEL))
    put("signs", Sign(-1), "shrunk")
    put("response", LocalResponseNorm(3, k=2.0), "shrunk", "response.table")
    put("enlarged", ConvTranspose2d((2, 2), (1, 0), (1, 1), groups=2), "response", "up.w", "up.b")
    put("shares", Softmax(), "flat", "shares.table", kind=Quantization(Format(12, 11, False)))
    put("half", Part("column", 1, 2, 2), "x")
    put("halves", SpatialConcat("column"), "half", "half")
    put("mirrored", Flip("column"), "halves")
    put("turned", Transpose(), "mirrored")
    put("mixed", GatherChannels((3, -1, 0)), "turned")
    put("square", Unflatten(2, 2), "flat")
    statistics = (
        put("sums", ReduceSum(True, False, True), "shrunk"),
        put("means", ReduceMean(columns=False), "shrunk"),
        put("largest", ReduceMax(), "shrunk"),
        put("normalized", GroupNorm(2, "pixel", "root_mean_square", 1e-3), "shrunk"),
        put("spread", StandardDeviation(1, "image", 1, 0.25), "shrunk"),
        put("variance", Variance(4, correction=1), "shrunk"),
        put("length", L2Norm(2), "shrunk"),
    )
    put("next", Requantize(), "tanh", kind=Quantization(Format(9, 3)))
    rest = [
        op_class()
        for op_class in REGISTRY.values()
        if issubclass(op_class, FunctionTable) and op_class not in (Sigmoid, Tanh)
    ]
    for op in rest:
        put(op.name, op, "requantize", f"{op.name}.table")

    def integers(shape: tuple[int, ...], form: Format) -> np.ndarray:
        return random.integers(form.min_raw, form.max_raw, shape, endpoint=True)

    small = Format(6, 5)
    table = Format(17, 14, False)
    sixteen = Format(16, 16, False)
    response = LocalResponseNorm(3, k=2.0).table_values(Operand((4, H, W), (PIXEL,)), 16)
    shares = Softmax().table_values(Operand((8,), (WIDE.format,)), 16)
    constants = (
        Constant("w", integers((4, 4, 3, 3), Format(8, 0)), weight_formats),
        Constant("b", integers((4,), Format(30, 0)), bias_formats),
        Constant("gain", integers((1, 1, 1), small), (small,)),
        Constant("slopes", integers((4,), small), (small,)),
        Constant("sigmoid.table", Sigmoid().tabulate(Format(8, 5, False), table), (table,)),
        Constant("tanh.table", Tanh().tabulate(PIXEL, Format(16, 14)), (Format(16, 14),)),
        *(Constant(f"{op.name}.table", op.tabulate(PIXEL, small), (small,)) for op in rest),
        Constant("curve.table", integers((256,), small), (small,)),
        Constant("thresholds", integers((4,), small), (small,)),
        Constant("response.table", quantize(response, sixteen), (sixteen,)),
        Constant("shares.table", quantize(shares, sixteen), (sixteen,)),
        Constant("up.w", integers((2, 2, 3, 3), small), (small,)),
        Constant("up.b", integers((2,), small), (Format(6, small.frac + WIDE.format.frac),)),
        Constant("matrix", integers((3, 8), small), (small,) * 3),
        Constant("offsets", integers((3,), Format(40, 11)), (Format(40, 11),)),
    )
    return Graph(
        "every op",
        (Value("x", (4, H, W), PIXEL), Value("y", (4, H, W), Format(7, 2))),
        tuple(nodes),
        (
            "scores",
            "nearest",
            "scores",
            "enlarged",
            "shares",
            "unpooled",
            "mixed",
            "square",
            "signs",
            *statistics,
            *(op.name for op in rest),
        ),
        constants,
        (
            State(Value("memory", (4, H, W), Format(9, 3)), "next", -3),
            State(Value("count", (8,), WIDE.format), "counted", 2),
        ),
    )


def small() -> Graph:
    """Return the graph of the golden file; never change it."""
    weight = np.array([[[[1, -2], [3, 4]]], [[[-8, 7], [0, 5]]]])
    return Graph(
        "small",
        (Value("x", (1, 2 * ((H + 1) // 2), W + 3), Format(8, 7, False)),),
        (
            Node("conv", Conv2d(padding=(0, 1, 0, 1)), ("x", "w", "b"), Quantization(Format(14, 8)),
                 origin="net.conv"),
            Node("fed", Add(), ("conv", "last"), Quantization(
                Format(14, 8), Rounding.HALF_EVEN, Overflow.SATURATE_SYMMETRIC)),
            Node("out", Clamp(None, 1.5), ("fed",), Quantization(Format(16, 8, False))),
        ),
        ("out", "fed"),
        (
            Constant("w", weight, (Format(4, 3), Format(4, 5))),
            Constant("b", np.array([-1000, 70000]), (Format(20, 10), Format(20, 12))),
        ),
        (State(Value("last", (2, 2 * ((H + 1) // 2), W + 3), Format(14, 8)), "fed", -1),),
    )  # fmt: skip


if __name__ == "__main__":
    golden = Path(__file__).parent / "golden" / f"version{FORMAT_VERSION}.fxp"
    golden.write_bytes(graph_file._to_bytes(small(), GOLDEN_METADATA, "fxp 0.1.0"))
