"""A damaged file is one error, and nothing is written to the terminal besides."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fxp.imaging.files import ImageError, read_image

RAMP = np.tile(np.arange(64, dtype=np.uint8), (64, 1))


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_compressed_tiff(compression: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    """Libtiff writes what is wrong to standard error by itself, unless it is told not to."""
    stream = io.BytesIO()
    Image.fromarray(RAMP).convert("RGB").save(stream, "TIFF", compression=compression)
    data = bytearray(stream.getvalue())
    data[40:90] = bytes(50)
    data[300:340] = b"\xff" * 40
    path = tmp_path / "damaged.tif"
    path.write_bytes(data)
    with warnings.catch_warnings(record=True) as caught, pytest.raises(ImageError) as error:
        read_image(path)
    assert str(error.value).startswith(f"cannot read image {path}: ")
    assert "\n" not in str(error.value)
    assert capfd.readouterr().err == ""
    assert caught == []


def test_bmp_that_claims_to_be_vast(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    """160 million pixels are read by the bound of this package, not by Pillow's warning."""
    stream = io.BytesIO()
    Image.fromarray(RAMP).save(stream, "BMP")
    data = bytearray(stream.getvalue())
    path = tmp_path / "vast.bmp"
    for side, message in (
        (12_650, f"cannot read image {path}: "),
        (20_000, f"{path} has more than the 178,956,970 pixels that are read; cut it into parts"),
    ):
        data[18:22] = data[22:26] = side.to_bytes(4, "little")
        path.write_bytes(data)
        with warnings.catch_warnings(record=True) as caught, pytest.raises(ImageError) as error:
            read_image(path)
        assert str(error.value).startswith(message)
        assert "\n" not in str(error.value)
        assert caught == []
    assert capfd.readouterr().err == ""
