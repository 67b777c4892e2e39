"""The ops: one frozen dataclass per op, one file per family, all faces in one place."""

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
    Elu,
    FunctionTable,
    Gelu,
    HardSigmoid,
    HardSwish,
    LogSigmoid,
    Mish,
    Sigmoid,
    Silu,
    Softplus,
    Tanh,
)
from fxp.graph.ops.line_codec import LineCodec
from fxp.graph.ops.movement import Concat, Flatten, Pad, Slice
from fxp.graph.ops.normalization import LocalResponseNorm, Softmax
from fxp.graph.ops.pooling import AveragePool, GlobalAveragePool, GlobalMaxPool, MaxPool
from fxp.graph.ops.rearrangement import Nearest, PixelShuffle, PixelUnshuffle
from fxp.graph.ops.resampling import BicubicUpsample, BilinearUpsample
from fxp.graph.ops.tables import StoredTable, Table
from fxp.graph.ops.thresholding import SoftThreshold
from fxp.graph.ops.transposed import ConvTranspose2d
from fxp.graph.ops.unpooling import MaxPoolIndices, MaxUnpool

__all__ = [
    "REGISTRY",
    "Accumulator",
    "Add",
    "AveragePool",
    "BicubicUpsample",
    "BilinearUpsample",
    "Clamp",
    "Concat",
    "Conv2d",
    "ConvTranspose2d",
    "Elu",
    "Flatten",
    "Flip",
    "FunctionTable",
    "GatherChannels",
    "Gelu",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "GraphError",
    "HardSigmoid",
    "HardSwish",
    "LineCodec",
    "Linear",
    "LocalResponseNorm",
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
    "Prelu",
    "Relu",
    "Requantize",
    "Sigmoid",
    "Silu",
    "Slice",
    "SoftThreshold",
    "Softmax",
    "Softplus",
    "SpatialConcat",
    "StoredTable",
    "Subtract",
    "Table",
    "Tanh",
    "Transpose",
    "Unflatten",
    "register",
]
