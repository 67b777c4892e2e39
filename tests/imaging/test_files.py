"""Image files: what is read, what is refused, and that nothing is half written."""

import io
import os
import struct
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fxp.files import replace_file
from fxp.imaging.files import ImageError, image_paths, read_image, write_image
from fxp.imaging.montage import CAPTION_HEIGHT, GAP, side_by_side


def picture(height: int = 6, width: int = 5, *channels: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, *channels), np.uint8)


@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_where_it_is_asked_for(tmp_path: Path, channels: int):
    image = picture(6, 5, channels)
    for name in ("image.png", "image.tif"):
        write_image(tmp_path / name, image, alpha=True)
        assert np.array_equal(read_image(tmp_path / name, alpha=True), image)
        with pytest.raises(ImageError, match="transparent"):
            read_image(tmp_path / name)
    with pytest.raises(ImageError, match="JPEG keeps no alpha"):
        write_image(tmp_path / "image.jpg", image, alpha=True)
    image[..., -1] = 255
    write_image(tmp_path / "image.png", image, alpha=True)
    opaque = read_image(tmp_path / "image.png", alpha=True)
    assert np.array_equal(opaque, np.squeeze(image[..., :-1]))


@pytest.mark.parametrize("channels", [(), (3,)])
@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_lossless_round_trip(tmp_path: Path, suffix: str, channels: tuple[int, ...]):
    image = picture(6, 5, *channels)
    write_image(tmp_path / f"image{suffix}", image)
    assert np.array_equal(read_image(tmp_path / f"image{suffix}"), image)


@pytest.mark.parametrize(
    ("mode", "shape"),
    [("1", (6, 5)), ("L", (6, 5)), ("P", (6, 5, 3)), ("CMYK", (6, 5, 3)), ("LA", (6, 5)),
     ("RGBA", (6, 5, 3)), ("YCbCr", (6, 5, 3))],
)  # fmt: skip
def test_modes_are_converted(tmp_path: Path, mode: str, shape: tuple[int, ...]):
    path = tmp_path / "image.tif"
    Image.fromarray(picture(6, 5, 3)).convert(mode).save(path)
    assert read_image(path).shape == shape


def test_opaque_alpha_is_dropped_and_transparency_refused(tmp_path: Path):
    path = tmp_path / "image.png"
    image = np.dstack([picture(4, 4, 3), np.full((4, 4), 255, np.uint8)])
    Image.fromarray(image).save(path)
    assert np.array_equal(read_image(path), image[..., :3])
    image[0, 0, 3] = 254
    Image.fromarray(image).save(path)
    with pytest.raises(ImageError, match=r"image\.png is transparent"):
        read_image(path)


def test_sixteen_bits_are_refused(tmp_path: Path):
    Image.fromarray(np.full((3, 3), 1000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(ImageError, match=r"deep\.png has mode I"):
        read_image(tmp_path / "deep.png")


def _chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


@pytest.mark.parametrize(("kind", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_sixteen_bits_of_colour_are_refused(tmp_path: Path, kind: int, channels: int):
    # Pillow would cut them to 8 bits, and cannot write them.
    rows = (b"\0" + b"\xff\xfe" * channels * 4) * 4
    header = struct.pack(">IIBBBBB", 4, 4, 16, kind, 0, 0, 0)
    chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")
    (tmp_path / "deep.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    with pytest.raises(ImageError, match=r"deep\.png has mode .* over 8 bits"):
        read_image(tmp_path / "deep.png")


@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_a_transparent_colour_is_refused(tmp_path: Path, mode: str):
    image = Image.fromarray(np.zeros((4, 4, 3), np.uint8)).convert(mode)
    image.save(tmp_path / "keyed.png", transparency=(0, 0, 0) if mode == "RGB" else 0)
    with pytest.raises(ImageError, match=r"keyed\.png is transparent"):
        read_image(tmp_path / "keyed.png")


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_several_images_are_refused(tmp_path: Path, suffix: str):
    path = tmp_path / f"pages{suffix}"
    first, second = (Image.fromarray(picture(4, size)) for size in (4, 4))
    second.putpixel((0, 0), 7)
    first.save(path, save_all=True, append_images=[second])
    with pytest.raises(ImageError, match="holds several images"):
        read_image(path)


def test_the_photograph_of_a_multi_picture_jpeg_is_read(tmp_path: Path):
    first, preview = (Image.fromarray(picture(size, size, 3)) for size in (16, 8))
    first.save(tmp_path / "phone.jpg", "MPO", save_all=True, append_images=[preview])
    assert read_image(tmp_path / "phone.jpg").shape == (16, 16, 3)


@pytest.mark.parametrize("kind", ["EPS", "GIF", "PPM"])
def test_the_content_decides_on_the_format(tmp_path: Path, kind: str):
    # Pillow would start Ghostscript for EPS, whatever the suffix.
    Image.fromarray(picture(4, 4, 3)).save(tmp_path / "image.png", kind)
    with pytest.raises(ImageError, match="it is no PNG, JPEG, BMP or TIFF, or is damaged"):
        read_image(tmp_path / "image.png")


def test_a_missing_pillow_is_not_taken_for_a_damaged_file(monkeypatch: pytest.MonkeyPatch):
    for name in ("PIL", "PIL.Image", "PIL.ImageOps"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'fxp\[cli\]'"):
        read_image("image.png")


def test_orientation_is_applied(tmp_path: Path):
    tags = Image.Exif()
    tags[0x0112] = 6
    Image.fromarray(picture(4, 8)).save(tmp_path / "turned.png", exif=tags)
    assert read_image(tmp_path / "turned.png").shape == (8, 4)


def test_missing_file(tmp_path: Path):
    with pytest.raises(ImageError, match="cannot read image"):
        read_image(tmp_path / "none.png")
    with pytest.raises(ImageError, match="no such file or folder"):
        image_paths(tmp_path / "none")


def test_folders(tmp_path: Path):
    with pytest.raises(ImageError, match="no images in folder"):
        image_paths(tmp_path)
    for name in ("b.png", "a.PNG", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in image_paths(tmp_path)] == ["a.PNG", "b.png"]


def _encoded(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture(7, 9, 3)).save(stream, kind)
    return stream.getvalue()


FILES = [_encoded(kind) for kind in ("PNG", "JPEG", "BMP", "TIFF")]


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_damaged_files_raise_image_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
):
    whole = data.draw(st.sampled_from(FILES))
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        damaged = damaged[: data.draw(st.integers(0, len(whole)))]
    path = tmp_path_factory.getbasetemp() / "damaged.png"
    path.write_bytes(bytes(damaged))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            assert read_image(path).dtype == np.uint8
        except ImageError as error:
            assert "damaged.png" in str(error)  # noqa: PT017
            assert "\n" not in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    ("name", "image", "match"),
    [
        ("image.xyz", picture(), "must end in"),
        ("image.png", picture().astype(float), "8-bit"),
        ("image.png", picture(4, 4, 2), "8-bit"),
        ("image.png", picture(0, 4), "8-bit"),
    ],
)
def test_unwritable_images(tmp_path: Path, name: str, image: np.ndarray, match: str):
    with pytest.raises(ImageError, match=match):
        write_image(tmp_path / name, image)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("step", ["fsync", "chmod", "replace"])
def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
):
    target = tmp_path / "file"
    replace_file(target, b"old")

    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="disk full"):
        replace_file(target, b"new")
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_side_by_side():
    sheet = side_by_side({"one": picture(30, 40), "two": picture(30, 40, 3)}, crop=20, panel=40)
    assert sheet.shape == (40 + CAPTION_HEIGHT, 2 * 40 + GAP, 3)
    assert sheet[:CAPTION_HEIGHT].min() < 128  # the caption
