"""Whole photographs, films and folders through an integer graph: tiles, kinds of images, files."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from numpy.typing import NDArray
from PIL import Image, ImageCms

import fxp
from fxp.cli import main as fxp_main
from fxp.graph.ops import Nearest
from fxp.imaging.files import read_image, write_image
from fxp.models import deblur, sr
from fxp.models.common.photographs import float_photograph
from fxp.models.common.pixels import PIXEL
from fxp.models.common.weights import save_weights
from fxp.models.deblur import fixed
from fxp.models.deblur.networks import Generator
from fxp.models.deblur.pipeline import Deblurrer
from fxp.models.deblur.tiles import Window, split, windows

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture(scope="module")
def network() -> Generator:
    torch.manual_seed(1)
    return Generator(3, 4, (0, 1, 1)).eval()


@pytest.fixture(scope="module")
def model(network: Generator) -> fxp.FixedModel:
    calibration = [np.random.default_rng(0).random((1, 3, 24, 32))]
    return fxp.quantize(
        network, calibration, input_format=PIXEL, output_format=PIXEL, effort="fast"
    )


def image_of(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_windows_are_of_one_size_and_keep_every_pixel_once():
    assert windows(10, 12, 3) == [Window(0, 0, 10)]
    # Tiles of 8 that look 3 beyond what is kept of them, except at the ends.
    assert windows(12, 8, 3) == [Window(0, 0, 5), Window(2, 5, 7), Window(4, 7, 12)]
    for length, size, reach in ((13, 5, 2), (40, 11, 5), (17, 9, 0)):
        found = windows(length, size, reach)
        kept = [item for window in found for item in range(window.first, window.last)]
        assert kept == list(range(length))
        for window in found:
            end = window.start + size
            assert 0 <= window.start <= max(window.first - reach, 0) or window.start == 0
            assert end <= length
            assert end == length or window.last + reach <= end


def test_every_scale_is_a_part(model: fxp.FixedModel):
    assert str(model.graph.inputs[0].shape[1]) == "4*H"
    parts = split(model.graph)
    assert [len(part.model.graph.inputs) for part in parts] == [1, 2, 2]
    # Convolutions of 5x5: 4 of the coarsest scale look 8 of its pixels far, and the Gaussians
    # that made them 3 of the input's, which is one more.
    assert parts[0].reach == (9, 9)
    assert parts[-1].model.graph.outputs == model.graph.outputs


@pytest.mark.parametrize("shape", [(83, 150, 3), (150, 61, 3)])
def test_tiles_are_the_whole_image_to_the_last_bit(
    model: fxp.FixedModel, shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
):
    image = image_of(*shape)
    whole = Deblurrer(model)
    expected = whole.oracle(image)
    assert expected.std() > 1
    assert np.array_equal(whole(image, threads=1), expected)
    assert np.array_equal(whole(image, threads=2), expected)
    calls = []
    original = fxp.FixedModel.run

    def counted(self: fxp.FixedModel, *given: NDArray, **options: Any) -> Any:
        calls.append(given[0].shape)
        return original(self, *given, **options)

    monkeypatch.setattr(fxp.FixedModel, "run", counted)
    for tile_bytes in (1, 60_000):
        assert np.array_equal(Deblurrer(model, tile_bytes=tile_bytes)(image), expected)
    assert len(calls) > 12
    assert min(height * width for _, height, width in calls) < shape[0] * shape[1] / 2


@pytest.mark.parametrize("shape", [(1, 1), (2, 5), (7, 4, 1), (5, 6, 2), (9, 3, 3), (4, 4, 4)])
@pytest.mark.parametrize("deep", [False, True])
def test_every_kind_of_image(model: fxp.FixedModel, shape: tuple[int, ...], deep: bool):
    image = image_of(*shape)
    deblurrer = Deblurrer(model)
    result = deblurrer(image.astype(np.uint16) * 257 if deep else image)
    assert result.dtype == np.uint8
    assert np.array_equal(result, deblurrer.oracle(image))
    if len(shape) == 3 and shape[2] in (2, 4):
        assert np.array_equal(result[..., -1], image[..., -1])


def test_odd_sizes_are_continued_by_their_edge(model: fxp.FixedModel):
    image = image_of(9, 14, 3)
    larger = np.concatenate([image, *[image[-1:]] * 3])
    larger = np.concatenate([larger, *[larger[:, -1:]] * 2], 1)
    expected = model.run_raw(larger.transpose(2, 0, 1)).transpose(1, 2, 0)
    assert np.array_equal(Deblurrer(model)(image), expected[:9, :14])


def test_grey_is_that_of_the_colours(model: fxp.FixedModel):
    image = image_of(8, 8)
    colours = Deblurrer(model)(np.stack([image] * 3, 2))
    assert np.array_equal(
        Deblurrer(model)(image), np.asarray(Image.fromarray(colours).convert("L"))
    )


class Gated(torch.nn.Module):
    """Multiplies a picture by its mean: looks at all of it."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image * image.mean((2, 3), keepdim=True)


class OddSizes(torch.nn.Module):
    """Averages blocks of two, also at an odd size, and repeats them."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        small = torch.nn.functional.avg_pool2d(image, 3, 2, padding=1)
        return torch.nn.functional.interpolate(small, size=image.shape[-2:], mode="nearest")


@pytest.mark.parametrize("kind", [Gated, OddSizes])
def test_networks_that_cannot_run_in_tiles_run_as_a_whole(kind: type[torch.nn.Module]):
    calibration = [np.random.default_rng(0).random((1, 3, 9, 11))]
    made = fxp.quantize(kind().eval(), calibration, input_format=PIXEL, output_format=PIXEL,
                        effort="fast")  # fmt: skip
    deblurrer = Deblurrer(made, tile_bytes=1)
    image = image_of(13, 17, 3)
    assert np.array_equal(deblurrer(image), deblurrer.oracle(image))


def test_transparent_pixels_have_no_influence(model: fxp.FixedModel):
    image = image_of(12, 12, 4)
    image[..., 3] = 255
    image[4:8, 4:8, 3] = 0
    other = image.copy()
    other[4:8, 4:8, :3] = 0
    first, second = Deblurrer(model)(image), Deblurrer(model)(other)
    assert np.array_equal(first, second)


def test_float_and_fixed_agree(network: Generator, model: fxp.FixedModel):
    image = image_of(21, 30, 3)
    difference = Deblurrer(model)(image).astype(int) - float_photograph(network, image)
    assert np.abs(difference).max() <= 3


def test_frames_of_films(model: fxp.FixedModel):
    deblurrer = Deblurrer(model)
    luma = image_of(9, 11) // 2 + 50
    chroma = [np.full((5, 6), value, np.uint8) for value in (120, 135)]
    made = deblurrer.frame([luma, *chroma])
    assert [plane.shape for plane in made] == [(9, 11), (5, 6), (5, 6)]
    assert np.array_equal(deblurrer.frame([luma])[0], deblurrer(luma))
    again = pickle.loads(pickle.dumps(deblurrer))
    assert all(
        np.array_equal(a, b) for a, b in zip(made, again.frame([luma, *chroma]), strict=True)
    )


def test_chroma_returns_where_the_network_changes_nothing():
    same = Generator(1, 3, 0).eval()
    with torch.no_grad():
        for name, item in same.named_parameters():
            item.zero_()
            if name.endswith("weight"):
                item[range(3), range(3), 2, 2] = 1.0
    model = fxp.quantize(same, [np.random.default_rng(0).random((1, 3, 8, 8))],
                         input_format=PIXEL, output_format=PIXEL, effort="fast")  # fmt: skip
    deblurrer = Deblurrer(model)
    image = image_of(5, 7, 3)
    assert np.array_equal(deblurrer(image), image)
    # Colours that 8-bit RGB can hold come back within the rounding of the two conversions.
    frame = [np.full((5, 7), 120, np.uint8), np.full((3, 4), 110, np.uint8),
             np.full((3, 4), 140, np.uint8)]  # fmt: skip
    for before, after in zip(frame, deblurrer.frame(frame), strict=True):
        assert np.abs(before.astype(int) - after).max() <= 1


def test_models_that_do_not_fit():
    with pytest.raises(ValueError, match="must take and return 3 planes of unsigned 8-bit pixels"):
        Deblurrer(sr.load("kimsr_x2"))
    image = fxp.Value("image", (3, fxp.Extent("H"), fxp.Extent("W")), PIXEL)
    node = fxp.Node("larger", Nearest(2), ("image",), fxp.Quantization(PIXEL))
    larger = fxp.FixedModel(fxp.Graph("larger", (image,), (node,), ("larger",)))
    with pytest.raises(ValueError, match="does not keep the size of pictures"):
        Deblurrer(larger)


@pytest.fixture
def model_file(model: fxp.FixedModel, tmp_path: Path) -> str:
    model.save(tmp_path / "model.fxp")
    return str(tmp_path / "model.fxp")


def test_the_command_goes_on_with_the_other_files(
    model: fxp.FixedModel, model_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    images = {name: image_of(9, 10, 3, seed=seed) for seed, name in enumerate(("a", "c"))}
    (tmp_path / "in").mkdir()
    for name, image in images.items():
        write_image(tmp_path / "in" / f"{name}.png", image)
    whole = (tmp_path / "in" / "a.png").read_bytes()
    (tmp_path / "in" / "b.png").write_bytes(whole[: len(whole) // 2])
    code = fxp_main(["deblur", str(tmp_path / "in"), str(tmp_path / "out"), "--model", model_file,
                     "--threads", "1"])  # fmt: skip
    errors = capsys.readouterr().err
    assert code == 1
    assert "1 of 3 images are not deblurred" in errors
    assert "b.png" in errors
    assert sorted(item.name for item in (tmp_path / "out").iterdir()) == ["a.png", "c.png"]
    for name, image in images.items():
        assert np.array_equal(read_image(tmp_path / "out" / f"{name}.png"), Deblurrer(model)(image))


def test_what_the_file_says_is_kept(model_file: str, tmp_path: Path):
    exif = Image.Exif()
    exif[0x010E] = "a street"
    Image.fromarray(image_of(9, 7, 4)).save(
        tmp_path / "in.png", exif=exif, dpi=(150, 150), icc_profile=PROFILE
    )
    assert fxp_main(["deblur", str(tmp_path / "in.png"), str(tmp_path / "out.png"),
                     "--model", model_file, "--tile-megabytes", "1"]) == 0  # fmt: skip
    with Image.open(tmp_path / "out.png") as made:
        assert made.size == (7, 9)
        assert made.mode == "RGBA"
        assert made.getexif()[0x010E] == "a street"
        assert made.info["icc_profile"] == PROFILE
        assert made.info["dpi"] == pytest.approx((150, 150), abs=0.1)


def test_films_in_a_file(model: fxp.FixedModel, model_file: str, tmp_path: Path):
    planes = [image_of(6, 8) // 2 + 40, image_of(3, 4) // 8 + 110, image_of(3, 4) // 8 + 110]
    head = b"YUV4MPEG2 W8 H6 F25:1 C420\n"
    body = b"FRAME\n" + b"".join(plane.tobytes() for plane in planes)
    (tmp_path / "in.y4m").write_bytes(head + 2 * body)
    source, target = str(tmp_path / "in.y4m"), str(tmp_path / "out.y4m")
    assert fxp_main(["deblur", source, target, "--model", model_file]) == 0
    made = b"".join(plane.tobytes() for plane in Deblurrer(model).frame(planes))
    assert (tmp_path / "out.y4m").read_bytes() == head + 2 * (b"FRAME\n" + made)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["none.png", "out.png"], "no such file or folder: none.png"),
        (["in.png", "out.png", "--model", "nobody"], "no shipped model 'nobody'"),
        (["in.png", "out.png", "--model", "none.fxp"], "none.fxp"),
        (["in.png", "out.png", "--model", "junk.fxp"], "junk.fxp"),
        (["junk.png", "out.png", "--model", "model.fxp"], "junk.png"),
        (["in.png", "model.fxp", "--model", "model.fxp"], "model.fxp"),
        (["in.png", "in.png", "--model", "model.fxp"], "in.png"),
        (["in.png", "out.png", "--model", "kimsr.fxp"], "3 planes"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    model_file: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    word: str,
):
    monkeypatch.chdir(tmp_path)
    write_image("in.png", image_of(4, 4, 3))
    for name in ("junk.png", "junk.fxp"):
        Path(name).write_bytes(b"junk")
    sr.load("kimsr_x2").save("kimsr.fxp")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert fxp_main(["deblur", *arguments]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    assert word in lines[0]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_weights_from_a_file_are_quantized(
    network: Generator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    save_weights(tmp_path / "net.safetensors", Generator(1, 2, 0))
    fixed.main(tmp_path / "net.safetensors", tmp_path / "net.fxp", 10, 14, "fast")
    model = fxp.load(tmp_path / "net.fxp")
    assert model.metadata["weights"] == "net.safetensors"
    assert model.metadata["divide_by"] == "256"
    assert Deblurrer(model)(image_of(5, 5, 3)).shape == (5, 5, 3)
    (tmp_path / "junk.pt").write_bytes(b"junk")
    with pytest.raises(typer.Exit):
        fixed.main(tmp_path / "junk.pt", tmp_path / "junk.fxp", 10, 14, "fast")
    assert "cannot read weights" in capsys.readouterr().err
    assert not (tmp_path / "junk.fxp").exists()


def test_calibration_is_sharp_and_blurred():
    images = fixed.calibration_images()
    assert [item.shape for item in images] == [(1, 3, 128, 128)] * 8
    assert all(0 <= item.min() <= item.max() < 1 for item in images)
    # A moving camera takes contrast away from between neighbours in a row.
    for sharp, blurred in zip(images[:4], images[4:], strict=True):
        assert np.abs(np.diff(blurred)).mean() < np.abs(np.diff(sharp)).mean()


def test_names_are_reached_without_pytorch_being_needed_first():
    assert deblur.Deblurrer is Deblurrer
    assert "Generator" in dir(deblur)
    with pytest.raises(AttributeError, match="nothing"):
        _ = deblur.nothing
