"""Writes the files of ``tests/frontend/brevitas``: small networks that Brevitas trained.

Brevitas 0.13 asks for packages that do not go with those of this repository, so it is installed
beside them by ``pip install --no-deps brevitas==0.13.4 dependencies==2.0.1 unfoldNd==0.2.3
onnxoptimizer==0.4.2``. Then ``python tests/frontend/brevitas_files.py`` writes the files again.
"""

from __future__ import annotations

from pathlib import Path

import brevitas.nn as qnn  # type: ignore[import-not-found]
import numpy as np
import onnx
import torch
from brevitas.export import export_onnx_qcdq, export_qonnx  # type: ignore[import-not-found]
from brevitas.quant.fixed_point import (  # type: ignore[import-not-found]
    Int8ActPerTensorFixedPoint,
    Int8WeightPerChannelFixedPoint,
    Int8WeightPerTensorFixedPoint,
    Uint8ActPerTensorFixedPoint,
)
from brevitas.quant.scaled_int import Int32Bias  # type: ignore[import-not-found]
from torch import nn

FOLDER = Path(__file__).parent / "brevitas"


class Denoiser(nn.Module):
    """Three convolutions of 4-bit weights, a scale for each channel, and 6-bit values."""

    def __init__(self) -> None:
        super().__init__()
        layer = {
            "weight_quant": Int8WeightPerChannelFixedPoint, "weight_bit_width": 4,
            "bias_quant": Int32Bias, "return_quant_tensor": True,
        }  # fmt: skip
        values = {"bit_width": 6, "return_quant_tensor": True}
        signed = {**values, "act_quant": Int8ActPerTensorFixedPoint}
        unsigned = {**values, "act_quant": Uint8ActPerTensorFixedPoint}
        self.camera = qnn.QuantIdentity(**signed)
        self.first = qnn.QuantConv2d(1, 4, 3, padding=1, bias=True, **layer)
        self.first_relu = qnn.QuantReLU(**unsigned)
        self.second = qnn.QuantConv2d(4, 4, 3, padding=1, bias=True, **layer)
        self.second_relu = qnn.QuantReLU(**unsigned)
        self.last = qnn.QuantConv2d(4, 1, 3, padding=1, bias=True, **layer)
        self.result = qnn.QuantIdentity(act_quant=Int8ActPerTensorFixedPoint)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.second_relu(self.second(self.first_relu(self.first(self.camera(x)))))
        return self.result(self.last(x))


class Classifier(nn.Module):
    """Convolutions of 8-bit weights, and a layer of a vector."""

    def __init__(self) -> None:
        super().__init__()
        layer = {
            "weight_quant": Int8WeightPerTensorFixedPoint, "bias_quant": Int32Bias,
            "return_quant_tensor": True,
        }  # fmt: skip
        relu = {"act_quant": Uint8ActPerTensorFixedPoint, "return_quant_tensor": True}
        self.camera = qnn.QuantIdentity(
            act_quant=Int8ActPerTensorFixedPoint, return_quant_tensor=True
        )
        self.first = qnn.QuantConv2d(1, 4, 3, padding=1, bias=True, **layer)
        self.first_relu = qnn.QuantReLU(**relu)
        self.second = qnn.QuantConv2d(4, 4, 3, stride=2, bias=True, **layer)
        self.second_relu = qnn.QuantReLU(bit_width=6, **relu)
        self.last = qnn.QuantLinear(4 * 5 * 5, 3, bias=True, **layer)
        self.result = qnn.QuantIdentity(act_quant=Int8ActPerTensorFixedPoint)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.second_relu(self.second(self.first_relu(self.first(self.camera(x)))))
        return self.result(self.last(torch.flatten(x, 1)))


def trained(network: nn.Module, wanted: nn.Module) -> nn.Module:
    """Train a network for a moment, so that its scales are those of data."""
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(30):
        x = torch.randn(16, 1, 12, 12)
        loss = (network(x) - wanted(x)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


def write(name: str, network: nn.Module) -> None:
    """Store inputs and what Brevitas computes from them, and put the model into one small file."""
    path = FOLDER / f"{name}.onnx"
    model = onnx.load(path)
    # The places of the code that made a node.
    for item in (model, model.graph, *model.graph.node, *model.graph.value_info,
                 *model.graph.input, *model.graph.output, *model.graph.initializer):  # fmt: skip
        del item.metadata_props[:]
        item.ClearField("doc_string")
    onnx.save(model, path)
    path.with_suffix(".onnx.data").unlink(missing_ok=True)
    x = torch.randn(4, 1, 12, 12)
    with torch.no_grad():
        y = network(x)
    np.savez_compressed(FOLDER / f"{name}.npz", x=x.numpy(), y=y.numpy())


def main() -> None:
    """Write all files."""
    torch.manual_seed(0)
    FOLDER.mkdir(exist_ok=True)
    example = torch.randn(1, 1, 12, 12)
    denoiser = trained(Denoiser(), nn.AvgPool2d(3, 1, 1))
    export_qonnx(denoiser, args=example, export_path=str(FOLDER / "denoiser.onnx"))
    write("denoiser", denoiser)
    flat = nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.AvgPool1d(3))
    classifier = trained(Classifier(), flat)
    export_onnx_qcdq(
        classifier, args=example, export_path=str(FOLDER / "classifier.onnx"), dynamo=False
    )
    write("classifier", classifier)


if __name__ == "__main__":
    main()
