"""The whole way of colour video as one model: hand-made colours, kept integers, the command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray

import fxp
from fxp import Extent, FixedModel, Graph, Node, Quantization, Value
from fxp.cli import main
from fxp.graph.ops import Nearest
from fxp.models import sr


def nearest(scale: int = 2) -> FixedModel:
    """Return a model that repeats pixels."""
    luma = Value("luma", (1, Extent("H"), Extent("W")), sr.PIXEL)
    node = Node("result", Nearest(scale), ("luma",), Quantization(sr.PIXEL))
    return FixedModel(Graph("nearest", (luma,), (node,), ("result",)))


def flat(*colour: int) -> NDArray[np.int64]:
    return np.tile(np.reshape(colour, (3, 1, 1)), (1, 2, 3))


@pytest.mark.parametrize(
    ("source", "colour", "expected"),
    [
        # Y is 188, Cb and Cr are 128; 1.1644 * (188 - 16) is 200.3.
        ("rgb", (200, 200, 200), (200, 200, 200)),
        # Y is 81, Cb 90, Cr 240; R is 75.7 + 178.8, G and B are just below zero.
        ("rgb", (255, 0, 0), (254, 0, 0)),
        ("ycbcr", (240, 81, 90), (254, 0, 0)),
        ("ycbcr", (128, 16, 128), (0, 0, 0)),
    ],
)
def test_flat_colours(source, colour, expected):
    chain = sr.colour_chain(nearest(), source=source)
    assert np.array_equal(chain.run_raw(flat(*colour)), np.tile(flat(*expected)[:, :1, :1], (4, 6)))


def test_bilinear_chroma():
    # Cb of 128, 136, 152 and 160 adds 2.0172 * (Cb - 128) to a blue of 130.4.
    image = np.array([[[128, 128]], [[128, 128]], [[128, 160]]])
    larger = sr.colour_chain(nearest(), chroma="bilinear", source="ycbcr").run_raw(image)
    assert larger[2].tolist() == [[130, 147, 179, 195]] * 2
    assert larger[0].tolist() == [[130] * 4] * 2


def test_the_network_keeps_its_integers():
    network = sr.load("kimsr_x2").graph
    chain = sr.colour_chain(sr.load("kimsr_x2"), chroma="bilinear").graph
    inside = {node.name: node for node in chain.nodes}
    for node in network.nodes:
        kept = inside[node.name]
        assert (kept.op, kept.quantization) == (node.op, node.quantization)
    for constant in network.constants:
        kept = chain.constants_by_name[constant.name]
        assert np.array_equal(kept.data, constant.data)
        assert kept.formats == constant.formats


def test_only_the_border_differs_from_an_upscaled_picture():
    network = sr.load("kimsr_x2")
    picture = skimage.data.astronaut()[60:80, 80:104]
    larger = sr.colour_chain(network).run_raw(picture.transpose(2, 0, 1)).transpose(1, 2, 0)
    rest = slice(6, -6), slice(14, -14)  # KimSR looks at 3 rows and 7 columns.
    expected = sr.upscale(picture, network)
    assert np.array_equal(larger[rest], expected[rest])
    assert not np.array_equal(larger, expected)


def test_quality_of_the_pictures():
    network = sr.load("kimsr_x2_compressed")
    picture = skimage.data.astronaut()[60:80, 80:104]
    planes, rest = picture.transpose(2, 0, 1), (slice(6, -6), slice(14, -14))
    made = {}
    for quality, same in ((None, 100), (50, 50)):
        larger = sr.colour_chain(network, quality=quality).run_raw(planes).transpose(1, 2, 0)
        made[same] = larger[rest]
        assert np.array_equal(made[same], sr.upscale(picture, network, quality=same)[rest])
    assert not np.array_equal(made[100], made[50])
    with pytest.raises(fxp.ArgumentError, match="takes no JPEG quality"):
        sr.colour_chain(nearest(), quality=80)


def test_what_does_not_suit_is_refused():
    with pytest.raises(fxp.ArgumentError, match="bilinear chroma is for a factor of 2, not 3"):
        sr.colour_chain(nearest(3), chroma="bilinear")
    with pytest.raises(fxp.ArgumentError, match="chroma must be one of bicubic, bilinear"):
        sr.colour_chain(nearest(), chroma="nearest")  # type: ignore[arg-type]
    with pytest.raises(fxp.ArgumentError, match="source must be one of rgb, ycbcr, not 'yuv'"):
        sr.colour_chain(nearest(), source="yuv")  # type: ignore[arg-type]
    with pytest.raises(fxp.ArgumentError, match="give the factor"):
        sr.colour_chain(nearest(1))


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    luma, out = tmp_path / "luma.fxp", tmp_path / "chain.fxp"
    nearest().save(luma)
    options = ["--chroma", "bilinear", "--source", "ycbcr"]
    assert main(["chain", str(luma), str(out), *options]) == 0
    assert capsys.readouterr().out == f"wrote {out}: ycbcr to RGB\n"
    written = fxp.load(out)
    assert written.metadata["divide_by"] == "1"
    assert written.run_raw(flat(240, 81, 90))[:, 0, 0].tolist() == [254, 0, 0]
    assert main(["chain", str(luma), str(luma)]) == 1
    assert "error: " in capsys.readouterr().err
