"""ONNX files of other projects: each is imported, or refused for the reason that the page gives."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fxp.frontend import FrontendError, from_onnx

pytestmark = pytest.mark.skipif(
    "FXP_DATA" not in os.environ, reason="set FXP_DATA to the folder that holds onnx/"
)
# The convolutions of each, counted in the file.
CONVOLUTIONS = {
    # Two, and a batch norm behind an activation, which no convolution takes up.
    "fml_conv2d_small_mp_keras": 3,
    "mnist_cntk": 2,
    "mtcnn_pnet": 5,
    "mtcnn_rnet": 3,
    "opt_mnist": 2,
    "ppocr_mobile_cls": 53,
    "super_resolution": 4,
    "ultraface_slim320_simplified": 42,
    "yunet_s_320": 53,
}


def path_of(name: str) -> Path:
    return Path(os.environ["FXP_DATA"]) / "onnx" / f"{name}.onnx"


@pytest.mark.filterwarnings("ignore:the image sizes are fixed")
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_file_is_imported(name: str) -> None:
    graph = from_onnx(path_of(name))
    assert sum(node.op.name == "conv2d" for node in graph.nodes) == CONVOLUTIONS[name]


def test_a_quantized_network_is_refused() -> None:
    with pytest.raises(FrontendError, match=r"'Quant_0' \(qonnx\.custom_op\.general\.Quant"):
        from_onnx(path_of("fml_tiny_unet_ch_last"))
