"""The ops: one frozen dataclass per op, one file per family, all faces in one place."""

from fxp.graph.ops.adaptive_pooling import AdaptiveAveragePool, AdaptiveMaxPool
from fxp.graph.ops.arrangement import (
    Flip,
    GatherChannels,
    Part,
    SpatialConcat,
    Transpose,
    Unflatten,
)
from fxp.graph.ops.base import (
    REGISTRY,
    Accumulator,
    GraphError,
    Op,
    Operand,
    register,
)
from fxp.graph.ops.constant_padding import ConstantPad
from fxp.graph.ops.convolution import Conv2d, Linear
from fxp.graph.ops.elementwise import (
    Add,
    Clamp,
    Multiply,
    Prelu,
    Relu,
    Requantize,
    Subtract,
)
from fxp.graph.ops.functions import (
    Cos,
    Elu,
    Erf,
    Exp,
    FunctionTable,
    Gelu,
    HardSigmoid,
    HardSwish,
    Log,
    LogSigmoid,
    Mish,
    Power,
    Sigmoid,
    Silu,
    Sin,
    Softplus,
    Tanh,
)
from fxp.graph.ops.group_norm import GroupNorm
from fxp.graph.ops.interpolation import Interpolate
from fxp.graph.ops.line_codec import LineCodec
from fxp.graph.ops.movement import Concat, Flatten, Pad, Slice
from fxp.graph.ops.normalization import LocalResponseNorm, Softmax
from fxp.graph.ops.pooling import AveragePool, DilatedMaxPool, MaxPool, SumPool
from fxp.graph.ops.rearrangement import Nearest, PixelShuffle, PixelUnshuffle
from fxp.graph.ops.reduction import (
    GlobalAveragePool,
    GlobalMaxPool,
    ReduceMax,
    ReduceMean,
    ReduceSum,
)
from fxp.graph.ops.resampling import BicubicUpsample, BilinearUpsample
from fxp.graph.ops.spread import L2Norm, StandardDeviation, Variance
from fxp.graph.ops.tables import StoredTable, Table
from fxp.graph.ops.thresholding import Sign, SoftThreshold
from fxp.graph.ops.transposed import ConvTranspose2d
from fxp.graph.ops.unpooling import MaxPoolIndices, MaxUnpool

__all__ = [
    "REGISTRY",
    "Accumulator",
    "AdaptiveAveragePool",
    "AdaptiveMaxPool",
    "Add",
    "AveragePool",
    "BicubicUpsample",
    "BilinearUpsample",
    "Clamp",
    "Concat",
    "ConstantPad",
    "Conv2d",
    "ConvTranspose2d",
    "Cos",
    "DilatedMaxPool",
    "Elu",
    "Erf",
    "Exp",
    "Flatten",
    "Flip",
    "FunctionTable",
    "GatherChannels",
    "Gelu",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "GraphError",
    "GroupNorm",
    "HardSigmoid",
    "HardSwish",
    "Interpolate",
    "L2Norm",
    "LineCodec",
    "Linear",
    "LocalResponseNorm",
    "Log",
    "LogSigmoid",
    "MaxPool",
    "MaxPoolIndices",
    "MaxUnpool",
    "Mish",
    "Multiply",
    "Nearest",
    "Op",
    "Operand",
    "Pad",
    "Part",
    "PixelShuffle",
    "PixelUnshuffle",
    "Power",
    "Prelu",
    "ReduceMax",
    "ReduceMean",
    "ReduceSum",
    "Relu",
    "Requantize",
    "Sigmoid",
    "Sign",
    "Silu",
    "Sin",
    "Slice",
    "SoftThreshold",
    "Softmax",
    "Softplus",
    "SpatialConcat",
    "StandardDeviation",
    "StoredTable",
    "Subtract",
    "SumPool",
    "Table",
    "Tanh",
    "Transpose",
    "Unflatten",
    "Variance",
    "register",
]
