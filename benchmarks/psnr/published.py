"""The figures of the KimSR paper at ×2 on luma, to stand beside the measured ones.

Y. Kim, J.-S. Choi, M. Kim, "A Real-Time Convolutional Neural Network for Super-Resolution on FPGA
with Applications to 4K UHD 60 fps Video Services", IEEE Trans. Circuits and Systems for Video
Technology 29(8), 2019, with its row for training on compressed images.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from fxp.imaging.quality import Quality


class PublishedMethod(NamedTuple):
    """One published line.

    Attributes
    ----------
    method, parameters
        Name, and number of weights as printed.
    bits
        Bits of weights and activations.
    scores
        By data set.
    minus
        Method of the float line that this fixed-point one is compared with.
    """

    method: str
    parameters: str
    bits: str
    scores: dict[str, Quality]
    minus: str | None = None


SETS: Final = ("Set5", "Set14", "B100")


def _row(
    method: str, parameters: str, bits: str, *figures: tuple[float, float], minus: str | None = None
) -> PublishedMethod:
    scores = {name: Quality(*pair) for name, pair in zip(SETS, figures, strict=True)}
    return PublishedMethod(method, parameters, bits, scores, minus)


ROWS: Final = (
    _row("bicubic", "", "", (33.66, 0.9299), (30.24, 0.8688), (29.56, 0.8431)),
    _row("SRCNN", "8K", "float", (36.34, 0.9521), (32.18, 0.9039), (31.11, 0.8835)),
    _row("FSRCNN-s", "4K", "float", (36.57, 0.9531), (32.28, 0.9049), (31.23, 0.8866)),
    _row("VDSR", "665K", "float", (37.53, 0.9587), (33.03, 0.9124), (31.90, 0.8960)),
    _row("KimSR", "2.56K", "float", (36.66, 0.9548), (32.52, 0.9073), (31.32, 0.8880)),
    _row("KimSR quantized", "2.56K", "10/14",
         (36.64, 0.9544), (32.52, 0.9071), (31.31, 0.8876), minus="KimSR"),
    _row("KimSR, new degradation", "2.56K", "10/14",
         (36.24, 0.9481), (31.96, 0.8994), (30.82, 0.8816)),
)  # fmt: skip
