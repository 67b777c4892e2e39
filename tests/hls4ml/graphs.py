"""Small graphs for hls4ml: every supported op of the case table, random ones, and unions of them.

A union compiles once what would else be compiled many times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from cases import CASES, RandomChoices, build
from random_graphs import FITTING, HEIGHT, WIDTH, Builder

from fxp.formats import Overflow
from fxp.graph import Graph, Node
from fxp.graph.ops import GraphError
from fxp.hls.hls4ml_export import ExportError
from fxp.hls.hls4ml_export.lowering import SUPPORTED, lower_to_layers
from fxp.model import FixedModel

SIZE = (6, 8)
SIZES = {"H": SIZE[0], "W": SIZE[1]}
DRAWS = 4
"""Formats tried for every case."""


def union(name: str, graphs: Sequence[Graph]) -> Graph:
    """One graph that holds several side by side; names get the number of theirs."""
    parts = []
    for index, graph in enumerate(graphs):

        def renamed(name: str, index: int = index) -> str:
            return f"g{index}_{name}"

        inputs = [replace(value, name=renamed(value.name)) for value in graph.inputs]
        constants = [replace(item, name=renamed(item.name)) for item in graph.constants]
        nodes = [
            Node(
                renamed(node.name),
                node.op,
                tuple(renamed(item) for item in node.inputs),
                node.quantization,
            )
            for node in graph.nodes
        ]
        parts.append((inputs, nodes, [renamed(item) for item in graph.outputs], constants))
    inputs, nodes, outputs, constants = (
        tuple(item for part in parts for item in part[position]) for position in range(4)
    )
    return Graph(name, inputs, nodes, outputs, constants)


def exact_modes(graph: Graph) -> Graph:
    """Replace the overflow mode that hls4ml cannot spell."""
    nodes = []
    for node in graph.nodes:
        target = node.quantization
        assert target is not None
        if target.overflow is Overflow.WRAP_SIGN_MAGNITUDE:
            target = replace(target, overflow=Overflow.WRAP)
        nodes.append(replace(node, quantization=target))
    return graph.with_nodes(nodes, graph.constants)


def case_graphs(seed: int) -> list[Graph]:
    """One graph for every case of a supported op that suits the size."""
    choices = RandomChoices(np.random.default_rng(seed))
    found = []
    for case in CASES:
        if case.op.name not in SUPPORTED or any(
            s > t for s, t in zip(case.smallest, SIZE, strict=True)
        ):
            continue
        # Formats are drawn, and some cannot be taken, such as a rounding step beyond the sum.
        for _ in range(DRAWS):
            graph = exact_modes(build(case, choices, size=SIZE, pattern="random").graph)
            try:
                lower_to_layers(graph, graph.concrete_shapes(SIZES), advise=False)
            except (ExportError, GraphError):
                continue
            found.append(graph)
            break
    return found


def random_graph(seed: int, nodes: int = 5) -> Graph:
    """A feed-forward graph of at most so many nodes, all of supported ops."""
    generator = np.random.default_rng(seed)
    cases = [case for case in FITTING if case.op.name in SUPPORTED]
    while True:
        choices = RandomChoices(generator)
        builder = Builder(choices, generator, SIZE, most_nodes=nodes)
        shape = (choices.integer(1, 3), HEIGHT, WIDTH)
        builder.sources["input0"] = builder.source("input0", shape)
        for _ in range(nodes):
            if choices.integer(0, 3) == 0:
                builder.attempt(builder.join)
            else:
                case = choices.pick(cases)
                builder.attempt(lambda case=case, builder=builder: builder.apply(case))
        read = {name for node in builder.nodes for name in node.inputs}
        try:
            graph = exact_modes(
                Graph(
                    f"random{seed}",
                    tuple(builder.sources.values()),
                    tuple(builder.nodes),
                    tuple(node.name for node in builder.nodes if node.name not in read),
                    tuple(item for item in builder.constants if item.name in read),
                )
            )
            lower_to_layers(graph, graph.concrete_shapes(SIZES), advise=False)
        except (ExportError, GraphError):
            continue
        if len(graph.nodes) >= 3:
            return graph


def small_network(name: str) -> FixedModel:
    """A quantized network in the shape of a known one, with fewer channels and random weights."""
    import torch
    from torch import nn

    import fxp
    from fxp.models.sr import baselines

    torch.manual_seed(4)
    if name == "FSRCNN":
        network: nn.Module = baselines.FSRCNN(6, 3, 1)
    elif name == "ESPCN":
        network = nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2),
            nn.Tanh(),
            nn.Conv2d(6, 4, 3, padding=1),
            nn.Tanh(),
            nn.Conv2d(4, 4, 3, padding=1),
            nn.PixelShuffle(2),
        )
    else:
        network = nn.Sequential(
            nn.Conv2d(1, 6, 9, padding=4),
            nn.ReLU(),
            nn.Conv2d(6, 4, 1),
            nn.ReLU(),
            nn.Conv2d(4, 1, 5, padding=2),
        )
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    calibration = np.random.default_rng(1).random((2, 1, 12, 10))
    return fxp.quantize(
        network.eval(), calibration, weight_bits=8, activation_bits=9, per_channel=name == "SRCNN"
    )
