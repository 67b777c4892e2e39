"""Small integer graphs of the ops that change size, repeat borders or look at whole frames."""

from __future__ import annotations

import numpy as np
from streaming_graphs import GraphBuilder

from fxp.formats import Format, Quantization, Rounding
from fxp.graph import Graph, ops
from fxp.graph.extents import Extent
from fxp.graph.ops import GraphError, Op
from fxp.hls.rtl.emit import plan_graph
from fxp.hls.rtl.streams import StreamingError

ACT = Format(8, 4)


def weights(
    b: GraphBuilder, shape: tuple[int, ...], name: str = "", bits: int = 4, frac: int = 2
) -> str:
    """Add a constant of random weights."""
    limit = 1 << (bits - 1)
    data = b.random.integers(-limit, limit, shape)
    return b.constant(name or f"w{len(b.constants)}", data, Format(bits, frac))


def constants() -> Graph:
    """Products with constants, negation, a normalization, a product of two values."""
    b = GraphBuilder("constants", 2, Format(9, 4))
    per_channel = b.constant("scale", np.array([[[13]], [[-64]]]), Format(8, 5))
    b.add(ops.Multiply(), "image", per_channel, target=Format(12, 5), name="scaled")
    minus = b.constant("minus", np.array([[[-1]]]), Format(2, 0))
    b.add(ops.Multiply(), minus, "scaled", name="negated")
    b.add(ops.Add(), "negated", "image")
    mean = b.constant("mean", np.array([[[3]], [[-5]]]), Format(5, 2))
    b.add(ops.Subtract(), b.last, mean)
    large = b.constant("large", np.array([[[(1 << 20) + 12345]]]), Format(22, 20))
    b.add(ops.Multiply(), b.last, large, target=Format(14, 4))
    b.add(ops.Multiply(), b.last, "image", target=Format(14, 4))
    return b.graph()


def borders() -> Graph:
    """Every border, even kernels, dilation, and a stride behind a mirrored border."""
    b = GraphBuilder("borders", 1, Format(7, 4))
    for mode, kernel, padding, options in (
        ("symmetric", (3, 3), (2, 2, 2, 2), {"dilation": (2, 2)}),
        ("replicate", (5, 4), (2, 2, 1, 2), {}),
        ("reflect", (2, 3), (1, 0, 1, 1), {}),
        ("reflect", (4, 3), (1, 1, 1, 1), {"stride": (2, 2)}),
    ):
        op = ops.Conv2d(padding=padding, padding_mode=mode, **options)  # type: ignore[arg-type]
        channels = b.channels(b.last)
        b.add(op, b.last, weights(b, (2, channels, *kernel)), target=Format(10, 4))
    return b.graph()


def interpolations() -> Graph:
    """Bilinear and bicubic enlargement, and a residual of the block."""
    b = GraphBuilder("interpolations", 2, Format(7, 4))
    first = b.add(ops.BilinearUpsample(), "image", target=Format(8, 4))
    second = b.add(ops.BicubicUpsample(), "image", target=Format(9, 4))
    third = b.add(ops.BicubicUpsample(-0.75, "replicate"), "image", target=Format(9, 4))
    b.add(ops.Subtract(), first, second, name="difference")
    b.add(ops.Concat(), "difference", third)
    b.add(ops.Relu(), target=Format(8, 4, False))
    return b.graph()


def crops() -> Graph:
    """Convolutions without padding, and slices of rows and columns."""
    b = GraphBuilder("crops", 1, Format(7, 4))
    b.conv(2, padding=(0, 0, 0, 0), target=ACT)
    b.add(ops.Slice("row", 1, -2))
    b.add(ops.Slice("column", 2, None, 2))
    b.conv(2, (3, 1), target=ACT)
    return b.graph()


def pools() -> Graph:
    """Largest values and means with strides 1 and 2, with and without padding."""
    b = GraphBuilder("pools", 2, Format(7, 4), seed=1)
    b.conv(3, target=ACT)
    b.add(ops.MaxPool((2, 2), (2, 2)))
    b.conv(2, target=ACT)
    b.add(ops.MaxPool((3, 3), (1, 1), (1, 1, 1, 1)))
    b.add(ops.AveragePool((3, 2), (1, 2)), target=ACT)
    b.add(ops.SumPool((2, 2), (1, 1), (1, 0, 0, 1)), target=Format(10, 4))
    return b.graph()


def reduced() -> Graph:
    """A stride, a slice and pools that leave the same rows and columns, and are joined."""
    size = (2 * Extent("H"), 2 * Extent("W"))
    b = GraphBuilder("reduced", 2, Format(7, 4), seed=3, size=size)
    rows = b.add(ops.Slice("row", 0, None, 2), "image")
    sliced = b.add(ops.Slice("column", 0, None, 2), rows)
    whole = weights(b, (2, 2, 3, 3))
    strided = b.add(ops.Conv2d((2, 2), (1, 1, 1, 1)), "image", whole, target=ACT)
    shortcut = b.add(ops.Add(), strided, sliced, target=ACT)
    pooled = b.add(ops.MaxPool((2, 2), (2, 2)), "image")
    b.add(ops.Concat(), pooled, shortcut, target=ACT)
    b.conv(2, target=ACT)
    b.add(ops.Add(), b.last, b.add(ops.AveragePool((2, 2), (2, 2)), "image"), target=ACT)
    return b.graph()


def unet() -> Graph:
    """Two reductions and two enlargements, with joins at both sizes."""
    b = GraphBuilder("unet", 1, Format(7, 4), seed=3, size=(8, 12))
    top = b.conv(2, target=ACT)
    b.add(ops.MaxPool())
    middle = b.conv(3, target=ACT)
    b.add(ops.MaxPool())
    b.conv(4, target=ACT)
    up = b.add(ops.ConvTranspose2d((2, 2)), b.last, weights(b, (3, 4, 2, 2)), target=ACT)
    b.add(ops.Concat(), up, middle)
    b.conv(2, padding=(1, 1, 1, 1), target=ACT)
    b.add(ops.Concat(), top, b.add(ops.Nearest(2)))
    b.conv(2, target=ACT)
    b.conv(1, (1, 1), target=Format(9, 4))
    return b.graph()


def classifier() -> Graph:
    """Convolutions and poolings, then weights for every pixel, as for digits."""
    b = GraphBuilder("classifier", size=(11, 12))
    b.conv(3)
    b.add(ops.Relu(), target=Format(8, 6, False))
    b.add(ops.MaxPool())
    b.conv(4)
    b.add(ops.Relu(), target=Format(8, 6, False))
    b.add(ops.MaxPool())
    b.add(ops.Flatten())
    bias = b.constant("bias", b.random.integers(-300, 301, 5), Format(20, 12))
    weight = weights(b, (5, 24), bits=6, frac=6)
    b.add(ops.Linear(), b.last, weight, bias, target=Format(12, 6))
    return b.graph()


def residual_classifier() -> Graph:
    """Residual blocks with strides, a global mean, and a linear layer, as ResNet."""
    b = GraphBuilder("residual_classifier", 2, Format(8, 4), seed=5, size=(9, 8))
    b.conv(3)
    start = b.add(ops.Relu(), target=ACT)
    stride = {"stride": (2, 2)}
    b.add(ops.Conv2d(padding=(1,) * 4, **stride), start, weights(b, (4, 3, 3, 3)), target=ACT)  # type: ignore[arg-type]
    main = b.conv(4, target=ACT)
    short = b.add(ops.Conv2d(**stride), start, weights(b, (4, 3, 1, 1)), target=ACT)  # type: ignore[arg-type]
    b.add(ops.Add(), main, short)
    b.add(ops.Relu(), target=Format(8, 4, False))
    b.add(ops.GlobalAveragePool(), target=Format(10, 6))
    b.add(ops.Flatten())
    b.add(ops.Linear(), b.last, weights(b, (6, 4), bits=6, frac=6), target=Format(12, 6))
    return b.graph()


def channel_reductions() -> Graph:
    """Mean, sum and largest value over channels; attention of each pixel."""
    b = GraphBuilder("channel_reductions", 3, Format(8, 4))
    mean = b.add(ops.ReduceMean(True, False, False), "image", target=Format(10, 5))
    largest = b.add(ops.ReduceMax(True, False, False), "image")
    total = b.add(ops.ReduceSum(True, False, False), "image")
    b.add(ops.Concat(), mean, largest, total)
    b.conv(1, target=ACT)
    curve = b.constant("curve", np.arange(256) * 37 % 200, Format(8, 8, False))
    b.add(ops.Sigmoid(), b.last, curve, target=Format(8, 8, False))
    b.add(ops.Multiply(), b.last, "image", target=Format(9, 4))
    return b.graph()


def unshuffled() -> Graph:
    """Work at half the size, as FFDNet does."""
    b = GraphBuilder("unshuffled", 1, Format(7, 4), size=(6, 8))
    b.add(ops.PixelUnshuffle(2))
    b.conv(4, target=ACT)
    b.add(ops.Relu(), target=ACT)
    b.conv(4, target=ACT)
    b.add(ops.PixelShuffle(2))
    b.add(ops.Add(), b.last, "image")
    return b.graph()


def several() -> Graph:
    """Outputs of other lags, sizes and formats: blocks, a half-sized map, features, a vector."""
    b = GraphBuilder("several", 1, Format(7, 4), size=(6, 8))
    features = b.conv(3, target=ACT, bias=True)
    b.conv(4, target=Format(12, 5), name="detail")
    shuffled = b.add(ops.PixelShuffle(2))
    small = b.add(ops.MaxPool((2, 2), (2, 2)), features)
    mean = b.add(ops.GlobalAveragePool(), features, target=Format(10, 5))
    return b.graph(outputs=(shuffled, features, small, mean, "image"))


def recurrent() -> Graph:
    """Two states, one of them negative at first, with gates; the frame before; two outputs."""
    b = GraphBuilder("recurrent", 1, Format(7, 4))
    hidden = b.state("hidden", 2, ACT, reset=-9)
    before = b.state("before", 1, Format(7, 4))
    b.add(ops.Concat(), "image", hidden, before)
    both = b.conv(4, target=Format(10, 6), bias=True)
    gate = b.add(ops.Slice("channel", 0, 2), both)
    gate = b.add(ops.Clamp(0, 1), gate, target=Format(6, 5, False))
    new = b.add(ops.Slice("channel", 2, 4), both)
    change = b.add(ops.Subtract(), new, hidden)
    b.add(ops.Multiply(), gate, change)
    kept = b.add(ops.Add(), b.last, hidden, target=ACT)
    b.keep("hidden")
    b.keep("before", "image")
    b.conv(1, target=ACT)
    return b.graph(outputs=(b.last, kept))


def enlarged_state() -> Graph:
    """A network that enlarges, and reads its last result."""
    b = GraphBuilder("enlarged_state", 1, Format(7, 4))
    shown = b.state("shown", 1, Format(7, 4), scale=2)
    b.add(ops.PixelUnshuffle(2), shown)
    b.add(ops.Concat(), "image", b.last)
    b.conv(4, target=ACT)
    b.add(ops.PixelShuffle(2), target=Format(7, 4))
    b.keep("shown")
    return b.graph()


SHAPES = {
    "constants": constants,
    "borders": borders,
    "interpolations": interpolations,
    "crops": crops,
    "pools": pools,
    "reduced": reduced,
    "unet": unet,
    "classifier": classifier,
    "residual_classifier": residual_classifier,
    "channel_reductions": channel_reductions,
    "unshuffled": unshuffled,
    "several": several,
    "recurrent": recurrent,
    "enlarged_state": enlarged_state,
}


def random_network(seed: int) -> Graph:
    """Return a network of ops drawn by chance, each of which leaves something that streams."""
    random = np.random.default_rng(seed)
    size = (int(random.integers(5, 13)), int(random.integers(5, 13)))
    if seed % 2:
        size = (4 * (size[0] // 4 + 1), 4 * (size[1] // 4 + 1))
    b = GraphBuilder(f"random{seed}", int(random.integers(1, 4)), Format(7, 4), seed, size)
    while len(b.nodes) < 9:
        before = (list(b.nodes), list(b.constants), b.last)
        try:
            _random_node(b, random)
            plan, _ = plan_graph(b.graph(), max_width=64, size=size)
            fits = all(np.array(plan.smallest) <= size)
        except (GraphError, StreamingError):
            fits = False
        if not fits:
            b.nodes, b.constants, b.last = before
    if seed % 3 == 0 and len(b.graph().values[b.last].shape) == 3:
        _ending(b, random)
    # What nothing reads goes with the nodes that only it read.
    return _used(b)


def _random_node(b: GraphBuilder, random: np.random.Generator) -> None:
    values = ["image", *(node.name for node in b.nodes)]
    source = b.last if random.random() < 0.8 else str(random.choice(values))
    channels, height, width = b.graph(check=False).values[source].shape if source != "image" else (
        b.source.shape)  # fmt: skip
    assert isinstance(channels, int)
    target = Quantization(Format(8, 4), Rounding.HALF_UP)
    kind = int(random.integers(0, 14))
    if kind <= 3:
        kernel = tuple(int(n) for n in random.integers(1, 4, 2))
        spans = [n - 1 for n in kernel]
        sides = [int(random.integers(0, span + 1)) for span in spans]
        padding = (sides[0], spans[0] - sides[0], sides[1], spans[1] - sides[1])
        if random.random() < 0.25:
            padding = (0, 0, 0, 0)
        mode = str(random.choice(["zero", "zero", "replicate", "reflect", "symmetric"]))
        stride = 2 if random.random() < 0.3 else 1
        op = ops.Conv2d((stride, stride), padding, mode)  # type: ignore[arg-type]
        outputs = int(random.integers(1, 4))
        b.add(op, source, weights(b, (outputs, channels, *kernel)), target=target)
    elif kind == 4:
        b.add(ops.Relu(), source, target=target)
    elif kind == 5:
        entries = random.integers(-100, 101, 1 << b.format(source).width)
        table = b.constant(f"t{len(b.constants)}", entries, Format(8, 5))
        b.add(ops.Tanh(), source, table, target=target)
    elif kind == 6:
        factors = random.integers(-9, 10, (channels, 1, 1))
        b.add(ops.Multiply(), source, b.constant(f"m{len(b.constants)}", factors, Format(5, 3)),
              target=target)  # fmt: skip
    elif kind in (7, 8):
        shape = (channels, height, width)
        shapes = {name: b.graph(check=False).values.get(name, b.source).shape for name in values}
        others = [name for name in values if shapes[name][1:] == shape[1:]]
        other = str(random.choice(others))
        same = shapes[other] == shape
        ops_of = [ops.Add(), ops.Subtract(), ops.Multiply()] if same else [ops.Concat()]
        b.add(ops_of[int(random.integers(0, len(ops_of)))], source, other, target=target)
    elif kind == 9:
        pool: Op = ops.MaxPool() if random.random() < 0.5 else ops.AveragePool((2, 2), (1, 2))
        b.add(pool, source, target=target)
    elif kind == 10:
        b.add(ops.MaxPool((3, 3), (1, 1), (1, 1, 1, 1)), source, target=target)
    elif kind == 11 and random.random() < 0.3:
        b.add(ops.Slice("column", 0, None, 2), b.add(ops.Slice("row", 0, None, 2), source))
    elif kind == 11:
        first = int(random.integers(0, 2))
        axis = str(random.choice(["row", "column"]))
        b.add(ops.Slice(axis, first, None if first else -1), source)  # type: ignore[arg-type]
    elif kind == 12:
        ups: list[Op] = [ops.Nearest(2), ops.BilinearUpsample(), ops.BicubicUpsample()]
        assert isinstance(height, int)
        if height <= 12:
            b.add(ups[int(random.integers(0, 3))], source, target=target)
    else:
        b.add(ops.PixelUnshuffle(2), source)


def _ending(b: GraphBuilder, random: np.random.Generator) -> None:
    before = (list(b.nodes), list(b.constants), b.last)
    try:
        if random.random() < 0.5:
            b.add(ops.GlobalAveragePool(), target=Format(10, 6))
        b.add(ops.Flatten())
        shape = b.graph().values[b.last].shape
        assert isinstance(shape[0], int)
        b.add(ops.Linear(), b.last, weights(b, (4, shape[0])), target=Format(12, 4))
        plan_graph(b.graph(), max_width=64, size=(8, 8))
    except (GraphError, StreamingError):
        b.nodes, b.constants, b.last = before


def _used(b: GraphBuilder) -> Graph:
    """Return what leads to the last value and to one of the others, both of which are outputs."""
    graph = b.graph(outputs=(b.last,))
    others = [node.name for node in b.nodes[:-1] if len(graph.values[node.name].shape) == 3]
    outputs = [b.last, *others[len(b.nodes) % 2 :: 4][:1]]
    needed, nodes = set(outputs), []
    for node in reversed(b.nodes):
        if node.name in needed:
            nodes.append(node)
            needed.update(node.inputs)
    return b.graph(tuple(reversed(nodes)), outputs)
