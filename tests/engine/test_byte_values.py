"""Values that are stored as bytes, and depthwise convolutions of bytes."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from engine_graphs import BYTE, RUNS, TILES, Network, check, plan_of, random_images

from fxp.engine import Options
from fxp.formats import Format
from fxp.graph import Graph
from fxp.graph.ops import Add, Clamp, Conv2d, MaxPool
from fxp.kernels.host import FEW, MANY_WIDE

UNSIGNED_BYTE = Format(8, 6, signed=False)
QUADS = {"many": Options(tiles=MANY_WIDE), "few": Options(tiles=replace(FEW, quads=True))}
SMALL = {**QUADS, "pieces": Options(tiles=MANY_WIDE, workspace_bytes=1, piece_work=1)}


def stored(graph: Graph) -> list[tuple[str, str]]:
    """Kernel and type of every value, with quad tiles."""
    inputs = random_images(graph, (20, 21), np.random.default_rng(0))
    program = plan_of(graph, inputs, QUADS["many"]).program
    return [(stage.kernel, str(stage.dtype)) for stage in program.stages]


def depthwise(
    channels: int, kernel: tuple[int, int], stride: int, source: Format, target: Format
) -> Graph:
    network = Network(np.random.default_rng(channels))
    network.conv(
        network.image(channels, source), channels, kernel, groups=channels,
        stride=(stride, stride), bits=8, bias=True, to=target, per_channel=channels % 3 == 0,
    )  # fmt: skip
    return network.graph()


@pytest.mark.parametrize("source", [UNSIGNED_BYTE, BYTE], ids=["unsigned", "signed"])
@pytest.mark.parametrize(
    ("channels", "kernel", "stride", "target"),
    [
        (64, (3, 3), 1, Format(12, 5)),
        (33, (3, 3), 1, Format(8, 3)),
        (16, (3, 3), 2, Format(12, 5)),
        (32, (5, 3), 1, Format(12, 5)),
        (144, (3, 5), 2, Format(8, 3)),
        (70, (7, 3), 4, Format(12, 5)),
        (24, (5, 5), 1, Format(24, 8)),
    ],
)
def test_depthwise_of_every_width(
    channels: int, kernel: tuple[int, int], stride: int, target: Format, source: Format
) -> None:
    graph = depthwise(channels, kernel, stride, source, target)
    assert stored(graph)[0][0] == "depthwise quads"
    runs = itertools.cycle(RUNS)
    for width in (1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 23):
        kind = ("random", "ends")[width % 2]
        inputs = random_images(graph, (1 + width % 5, width), np.random.default_rng(width), kind)
        check(graph, inputs, TILES, [next(runs)])
        next(runs)


def test_depthwise_sums_do_not_saturate() -> None:
    """Three products of 255 * -128 exceed int16, and so do those of 255 * 127."""
    network = Network()
    weight = np.ones((64, 1, 3, 3), int)
    weight[::2], weight[1::2] = -128, 127
    source = network.image(64, UNSIGNED_BYTE)
    constant = network.constant(weight, Format(8, 0))
    network.node(Conv2d(groups=64), source, constant, to=Format(24, 6))
    graph = network.graph()
    assert stored(graph) == [("depthwise quads", "int32")]
    image = np.full((64, 3, 3), 255)
    result = check(graph, [image], TILES)
    assert result.outputs[0].ravel()[:2].tolist() == [-128 * 255 * 9, 127 * 255 * 9]


def chain(channels: int) -> Graph:
    """Every kind of stage that stores bytes, one that adds them, and their borders."""
    network = Network(np.random.default_rng(channels))

    def convolution(name: str, size: int, **more) -> str:
        return network.conv(
            name, channels, (size, size), bits=8, bias=True, per_channel=channels % 3 == 0,
            padding=(size // 2,) * 4, **{"to": UNSIGNED_BYTE, **more},
        )  # fmt: skip

    first = convolution(network.image(channels, BYTE), 1)
    second = convolution(first, 3, groups=channels)
    third = convolution(convolution(second, 3), 1, to=None)
    added = network.node(Add(), third, first, to=UNSIGNED_BYTE)
    convolution(convolution(added, 1), 5, groups=channels, stride=(2, 2), to=Format(12, 5))
    return network.graph()


@pytest.mark.parametrize("channels", [33, 64])
def test_chain_of_bytes(channels: int) -> None:
    graph = chain(channels)
    assert [kind for _, kind in stored(graph)] == ["uint8"] * 5 + ["int16"]
    runs = itertools.cycle(RUNS)
    for width in (1, 4, 7, 16, 21, 30):
        kind = ("random", "ends")[width % 2]
        inputs = random_images(
            graph, (1 + width % 5 * 3, width + 4), np.random.default_rng(width), kind
        )
        check(graph, inputs, SMALL, [next(runs)])
        next(runs)


def test_four_outputs_of_bytes() -> None:
    """Winograd of four outputs reads and stores bytes, and adds them."""
    network = Network(np.random.default_rng(0))
    small = Format(6, 4, signed=False)

    def convolution(name: str, **more) -> str:
        return network.conv(name, 32, (3, 3), bits=4, padding=(1, 1, 1, 1), **{"to": small, **more})

    first = convolution(network.image(32, small))
    second = network.node(Add(), convolution(first, to=None), first, to=small)
    convolution(second)
    graph = network.graph()
    winograd = "winograd 3x3, four outputs"
    assert stored(graph) == [(winograd, "uint8"), (winograd, "uint8"), (winograd, "int16")]
    for size in ((4, 4), (9, 17), (3, 8), (13, 30)):
        inputs = random_images(graph, size, np.random.default_rng(0), "ends")
        check(graph, inputs, SMALL)


@pytest.mark.parametrize(("bounds", "kind"), [((0, 255), "uint8"), ((0, 256), "int16"),
                                              ((-1, 254), "int16")])  # fmt: skip
def test_what_is_stored_as_bytes(bounds: tuple[int, int], kind: str) -> None:
    network = Network()
    first = network.conv(network.image(16, BYTE), 16, (1, 1), bits=8, to=None)
    wide = Format(12, 4)
    clamped = network.node(Clamp(*(bound / 16 for bound in bounds)), first, to=wide)
    network.conv(clamped, 16, (1, 1), bits=8, to=Format(12, 4))
    graph = network.graph()
    assert stored(graph)[0][1] == kind
    check(graph, random_images(graph, (5, 9), np.random.default_rng(0), "ends"), SMALL)


def test_other_readers_get_int16() -> None:
    """One reader that takes no bytes, or an output, is enough."""
    for more in ("pool", "output"):
        network = Network()
        first = network.conv(network.image(16, BYTE), 16, (1, 1), bits=8, to=UNSIGNED_BYTE)
        second = network.conv(first, 16, (1, 1), bits=8, to=Format(12, 4))
        if more == "pool":
            more_read = network.node(MaxPool((2, 2), (2, 2)), first, to=UNSIGNED_BYTE)
        else:
            more_read = first
        graph = network.graph(second, more_read)
        assert stored(graph)[0][1] == "int16"
        check(graph, random_images(graph, (6, 8), np.random.default_rng(0)), SMALL)
