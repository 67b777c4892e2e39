"""A residual classifier of the zoo as a core, which gives the logits of the engine."""

from __future__ import annotations

from pathlib import Path

import torch
from simulations import bench_of, check, frame

import fxp
from fxp.models.recognition.zoo.cifar import CifarResNet
from fxp.rtl_sim import Stalls


def test_residual_network_for_cifar(work_dir: Path) -> None:
    """Shortcuts that slice rows and columns and append channels meet convolutions with strides."""
    torch.manual_seed(0)
    network = CifarResNet(depth=8, classes=10, width=2).eval()
    model = fxp.quantize(
        network,
        [torch.rand(4, 3, 8, 8)],
        weight_bits=8,
        activation_bits=8,
        input_format=fxp.Format(8, 8, signed=False),
        effort="fast",
    )
    model, bench = bench_of(model, "icarus", work_dir, max_width=8, max_height=8, fold=4)
    assert {node.op.name for node in model.graph.nodes} >= {"conv2d", "slice", "add", "linear"}
    pictures = [frame(model, (8, 8), content) for content in ("random", "photo")]
    check(bench, model, pictures, Stalls("random25", "bursts", seed=1))
