"""Image files: what is read, what is refused, and that nothing is half written."""

import io
import os
import struct
import sys
import warnings
import zlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fxp.imaging.files import ImageError, image_paths, read_image, write_image
from fxp.imaging.montage import CAPTION_HEIGHT, GAP, side_by_side
from fxp.support.files import replace_file


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


def _chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def deep_png(image: np.ndarray, filter_type: int = 0, more: bytes = b"") -> bytes:
    """Encode 16 bits a channel, which Pillow cannot write in colour."""
    height, width, *channels = image.shape
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[int(np.prod(channels, initial=1, dtype=int))]
    lines = image.astype(">u2").view(np.uint8).reshape(height, -1)
    step = lines.shape[1] // width
    left, up = np.zeros_like(lines), np.zeros_like(lines)
    left[:, step:], up[1:] = lines[:, :-step], lines[:-1]
    lines = lines - (0, left, up)[filter_type]
    rows = np.insert(lines, 0, filter_type, axis=1).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    chunks = _chunk(b"IHDR", header) + more + _chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunks + _chunk(b"IEND", b"")


def deep_picture(height: int, width: int, *channels: int) -> np.ndarray:
    shape = (height, width, *channels)
    return np.random.default_rng(0).integers(0, 65536, shape, np.uint16)


def nearest_eight_bits(image: np.ndarray) -> np.ndarray:
    """Round each value by exact fractions."""
    table = [round(Fraction(value * 255, 65535)) for value in range(65536)]
    return np.array(table, np.uint8)[image]


def test_every_value_of_sixteen_bits(tmp_path: Path):
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    Image.fromarray(values).save(tmp_path / "grey.png")
    assert np.array_equal(read_image(tmp_path / "grey.png"), nearest_eight_bits(values))
    colour = np.stack([values, np.flipud(values), values.T], axis=2)
    (tmp_path / "colour.png").write_bytes(deep_png(colour))
    assert np.array_equal(read_image(tmp_path / "colour.png"), nearest_eight_bits(colour))
    # Not the upper byte, which is all that Pillow keeps.
    assert not np.array_equal(nearest_eight_bits(colour), colour >> 8)


@pytest.mark.parametrize("filter_type", [0, 1, 2])
@pytest.mark.parametrize("channels", [(), (2,), (3,), (4,)])
def test_png_of_sixteen_bits(tmp_path: Path, channels: tuple[int, ...], filter_type: int):
    image = deep_picture(7, 5, *channels)
    (tmp_path / "deep.png").write_bytes(deep_png(image, filter_type))
    found = read_image(tmp_path / "deep.png", alpha=True)
    assert np.array_equal(found, nearest_eight_bits(image))
    assert found.dtype == np.uint8
    if channels in ((2,), (4,)):
        with pytest.raises(ImageError, match=r"deep\.png is transparent"):
            read_image(tmp_path / "deep.png")
        # 65407 and more become 255.
        image[..., -1] = np.random.default_rng(1).integers(65407, 65536, (7, 5))
        (tmp_path / "deep.png").write_bytes(deep_png(image, filter_type))
        opaque = nearest_eight_bits(np.squeeze(image[..., :-1]))
        assert np.array_equal(read_image(tmp_path / "deep.png"), opaque)


TIFF_KINDS = [
    {},
    {"byteorder": ">"},
    {"compression": "zlib"},
    {"compression": "zlib", "predictor": True, "byteorder": ">"},
    {"tile": (16, 16)},
    {"rowsperstrip": 2},
]


@pytest.mark.parametrize("kind", TIFF_KINDS, ids=str)
@pytest.mark.parametrize("channels", [(), (3,), (4,)])
def test_tiff_of_sixteen_bits(tmp_path: Path, channels: tuple[int, ...], kind: dict):
    image = deep_picture(35, 21, *channels)
    options = {"photometric": "rgb" if channels else "minisblack", **kind}
    if channels == (4,):
        options["extrasamples"] = ["unassalpha"]
    tifffile.imwrite(tmp_path / "deep.tif", image, **options)
    assert np.array_equal(read_image(tmp_path / "deep.tif", alpha=True), nearest_eight_bits(image))


def test_tiff_of_sixteen_bits_with_white_as_zero(tmp_path: Path):
    image = deep_picture(7, 5)
    tifffile.imwrite(tmp_path / "deep.tif", image, photometric="miniswhite")
    assert np.array_equal(read_image(tmp_path / "deep.tif"), nearest_eight_bits(65535 - image))


@pytest.mark.parametrize("channels", [(), (3,)])
def test_orientation_of_sixteen_bits(tmp_path: Path, channels: tuple[int, ...]):
    image, tags = deep_picture(7, 5, *channels), Image.Exif()
    tags[0x0112] = 6
    exif = _chunk(b"eXIf", tags.tobytes().removeprefix(b"Exif\0\0"))
    (tmp_path / "turned.png").write_bytes(deep_png(image, more=exif))
    turned = np.rot90(nearest_eight_bits(image), -1)
    assert np.array_equal(read_image(tmp_path / "turned.png"), turned)


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (deep_picture(3, 6, 5), {"photometric": "rgb", "planarconfig": "separate"}),
        (
            deep_picture(3, 6, 5),
            {"photometric": "rgb", "planarconfig": "separate", "compression": "zlib"},
        ),
        (deep_picture(6, 5, 4), {"photometric": "separated"}),
        (deep_picture(6, 5, 4), {"photometric": "rgb", "extrasamples": ["assocalpha"]}),
        (deep_picture(6, 5).astype(np.int16), {}),
        (deep_picture(6, 5).astype(np.uint32), {}),
        (deep_picture(6, 5).astype(np.float32), {}),
    ],
    ids=["planes", "packed planes", "CMYK", "associated alpha", "signed", "32 bits", "float"],
)
def test_other_deep_images_are_refused(tmp_path: Path, image: np.ndarray, options: dict):
    tifffile.imwrite(tmp_path / "deep.tif", image, **options)
    with pytest.raises(ImageError, match=r"deep\.tif.*") as caught:
        read_image(tmp_path / "deep.tif", alpha=True)
    assert "8 bits" in str(caught.value) or "damaged" in str(caught.value)


@pytest.mark.parametrize("channels", [(), (3,)])
def test_a_transparent_colour_of_sixteen_bits_is_refused(tmp_path: Path, channels: tuple[int, ...]):
    key = _chunk(b"tRNS", struct.pack(">H", 1000) * (channels or (1,))[0])
    (tmp_path / "keyed.png").write_bytes(deep_png(deep_picture(6, 5, *channels), more=key))
    with pytest.raises(ImageError, match=r"keyed\.png .*convert it to 8 bits"):
        read_image(tmp_path / "keyed.png", alpha=True)


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


@pytest.mark.parametrize("kind", ["EPS", "SGI", "PCX"])
def test_the_content_decides_on_the_format(tmp_path: Path, kind: str):
    # Pillow would start Ghostscript for EPS, whatever the suffix.
    Image.fromarray(picture(4, 4, 3)).save(tmp_path / "image.png", kind)
    with pytest.raises(ImageError, match=r"it is no PNG, JPEG, .* or is damaged"):
        read_image(tmp_path / "image.png")


def test_the_first_bytes_count_and_not_the_suffix(tmp_path: Path):
    Image.fromarray(picture(4, 4, 3)).save(tmp_path / "image.png", "PPM")
    assert np.array_equal(read_image(tmp_path / "image.png"), picture(4, 4, 3))


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("film.mp4", r"ffmpeg -i film.mp4 -f yuv4mpegpipe"),
        ("film.MOV", r"ffmpeg -i film.MOV -f yuv4mpegpipe"),
        ("frames.yuv", r"--size WIDTHxHEIGHT and --format"),
    ],
)
def test_video_is_told_how_it_is_read(tmp_path: Path, name: str, advice: str):
    (tmp_path / name).write_bytes(bytes(200))
    with pytest.raises(ImageError, match=advice):
        read_image(tmp_path / name)


def test_kinds_of_netpbm(tmp_path: Path):
    """By hand: 100 is white, so 50 is half of it; two bytes are rounded as in a PNG file."""
    (tmp_path / "grey.pgm").write_bytes(b"P5\n3 1\n100\n\x00\x32\x64")
    assert read_image(tmp_path / "grey.pgm").tolist() == [[0, 128, 255]]
    (tmp_path / "deep.pgm").write_bytes(b"P5\n3 1\n65535\n\x00\x80\x00\x81\xff\xff")
    assert read_image(tmp_path / "deep.pgm").tolist() == [[0, 1, 255]]
    (tmp_path / "deep.ppm").write_bytes(b"P6\n1 1\n65535\n\x00\x80\x00\x81\xff\xff")
    assert read_image(tmp_path / "deep.ppm").tolist() == [[[0, 1, 255]]]


def test_a_still_gif_is_read_and_an_animated_one_refused(tmp_path: Path):
    still = Image.fromarray(np.array([[[255, 0, 0], [0, 0, 255]]], np.uint8))
    still.save(tmp_path / "still.gif")
    assert read_image(tmp_path / "still.gif").tolist() == [[[255, 0, 0], [0, 0, 255]]]
    turned = Image.fromarray(np.array([[[0, 0, 255], [255, 0, 0]]], np.uint8))
    for suffix in (".gif", ".webp"):
        still.save(tmp_path / f"moving{suffix}", save_all=True, append_images=[turned])
        with pytest.raises(ImageError, match="animated; split it first"):
            read_image(tmp_path / f"moving{suffix}")


def test_a_missing_pillow_is_not_taken_for_a_damaged_file(monkeypatch: pytest.MonkeyPatch):
    for name in ("PIL", "PIL.Image", "PIL.ImageOps"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install -e '\.\[cli\]'"):
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
FILES += [deep_png(deep_picture(7, 9, *channels)) for channels in ((), (2,), (3,))]


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


def test_a_missing_folder_is_named(tmp_path: Path):
    folder = tmp_path / "none"
    with pytest.raises(FileNotFoundError) as caught:
        replace_file(folder / "file", b"new")
    assert caught.value.filename == str(folder / "file")
    assert caught.value.strerror == (
        f"the folder '{folder}' does not exist; create it first, or name another one"
    )
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(NotADirectoryError, match="is not a folder; name another one"):
        replace_file(tmp_path / "file" / "below", b"new")


def test_side_by_side():
    sheet = side_by_side({"one": picture(30, 40), "two": picture(30, 40, 3)}, crop=20, panel=40)
    assert sheet.shape == (40 + CAPTION_HEIGHT, 2 * 40 + GAP, 3)
    assert sheet[:CAPTION_HEIGHT].min() < 128  # the caption
