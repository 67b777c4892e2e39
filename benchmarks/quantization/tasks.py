"""What released networks are measured on: calibration data, test data, a score of each image."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import skimage.data
import skimage.draw
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from benchmarks.quantization import networks
from fxp.imaging.colour import luma
from fxp.imaging.quality import compare, to_codes
from fxp.models.common.data import modcrop, read_folder
from fxp.models.sr.data import downscale

CALIBRATION_PICTURES = 8
"""Pictures of T91 that super-resolution networks are calibrated on."""
CALIBRATION_IMAGES = 64
"""Training images of CIFAR-10 that classifiers are calibrated on."""
EVERY = 20
"""One of so many images of the ImageNet sample is for calibration, the others are for the test."""
BATCH = 50
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Score = Callable[[NDArray, int], float]
"""Takes what a network gives for an image, and the number of the image."""


@dataclass(frozen=True)
class TestSet:
    """Images with what they are measured by.

    Attributes
    ----------
    name
        For the table.
    inputs
        Calls with batch; images of one size may share one.
    score
        Of one image; the score of the set is the mean.
    names
        Names of the images, where single ones are told.
    """

    name: str
    inputs: Sequence[Tensor]
    score: Score
    names: Sequence[str] = ()


@dataclass(frozen=True)
class Task:
    """A network and what it is measured on.

    Attributes
    ----------
    network
        In eval mode.
    calibration
        As for `fxp.quantize`; none of it is in a test set.
    sets
        Test sets.
    measure
        Name of the score, with its unit.
    extremes
        Flat pictures, drawings and text, whose worst one counts.
    """

    network: nn.Module
    calibration: Sequence[Tensor]
    sets: Sequence[TestSet]
    measure: str
    extremes: TestSet | None = None


def extreme_pictures(size: int = 240) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield flat pictures, drawings and text by name, black, white and grey.

    Parameters
    ----------
    size
        Height and width of those that are drawn here.
    """
    for name, level in (("black", 0), ("grey", 128), ("white", 255)):
        yield name, np.full((size, size), level, np.uint8)
    drawing = np.full((size, size), 255, np.uint8)
    for offset in range(0, size // 2, 12):
        rows, columns = skimage.draw.line(0, 2 * offset, size - 1, size - 1 - offset)
        drawing[rows, columns] = 0
        rows, columns = skimage.draw.circle_perimeter(size // 2, size // 2, offset)
        drawing[rows, columns] = 0
    yield "drawing", drawing
    yield "inverted drawing", 255 - drawing
    yield "silhouette", np.where(skimage.data.horse(), 255, 0).astype(np.uint8)
    stripes = np.zeros((size, size), np.uint8)
    stripes[:, (np.arange(size) // 3) % 2 == 1] = 255
    yield "stripes", stripes
    scan = skimage.data.text()
    text = np.where(scan > scan.mean(), 255, 0).astype(np.uint8)
    yield "text", text
    yield "inverted text", 255 - text


def super_resolution(network: nn.Module, data: Path, scale: int) -> Task:
    """Return a task of a network that enlarges luma of 0 to 1.

    The pictures are downscaled by antialiased bicubic and rounded to 8 bits; PSNR is of 8-bit
    pixels, without as many at the border as the factor.

    Parameters
    ----------
    network
        In eval mode.
    data
        Folder with Set5, Set14 and T91.
    scale
        Factor.
    """

    def test(name: str, pictures: dict[str, NDArray[np.uint8]]) -> TestSet:
        truths = [modcrop(picture, scale) for picture in pictures.values()]

        def score(output: NDArray, number: int) -> float:
            return compare(truths[number], to_codes(output[0] * 255), border=scale).psnr

        return TestSet(name, [_low(truth, scale) for truth in truths], score, list(pictures))

    pictures = list(read_folder(data / "T91").values())[:CALIBRATION_PICTURES]
    return Task(
        network,
        [_low(modcrop(picture, scale), scale) for picture in pictures],
        [test(name, read_folder(data / name)) for name in ("Set5", "Set14")],
        "PSNR dB",
        test("flat and extreme pictures", dict(extreme_pictures())),
    )


def _low(picture: NDArray[np.uint8], scale: int) -> Tensor:
    """Downscale luma to a call of 0 to 1."""
    codes = to_codes(downscale(luma(picture), scale))
    return torch.from_numpy(codes[None, None].astype(np.float32) / 255)


def classification(
    network: nn.Module, calibration: Tensor, images: Tensor, classes: Sequence[int], name: str
) -> Task:
    """Return a task of a classifier.

    Parameters
    ----------
    network
        In eval mode.
    calibration, images
        ``(N, C, H, W)``.
    classes
        The class of every image.
    name
        Name of the test set.
    """

    def score(output: NDArray, number: int) -> float:
        return 100.0 * (int(output.argmax()) == classes[number])

    batches = list(images.split(BATCH))
    return Task(network, [calibration], [TestSet(name, batches, score)], "top-1 %")


def cifar(path: Path, count: int, first: int = 0) -> tuple[Tensor, Tensor]:
    """Return so many images of each class, ``(N, 3, 32, 32)`` in 0 to 255, and their classes.

    Parameters
    ----------
    path
        ZIP file with a folder for each class.
    count
        Images of each class.
    first
        Where to begin in each class.
    """
    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        folders = sorted({name.split("/")[-2] for name in names})
        chosen = [
            (name, label)
            for label, folder in enumerate(folders)
            for name in [name for name in names if name.split("/")[-2] == folder][
                first : first + count
            ]
        ]
        images = [_pixels(archive.read(name)) for name, _ in chosen]
    return torch.stack(images), torch.tensor([label for _, label in chosen])


def _pixels(encoded: bytes, size: int | None = None) -> Tensor:
    """Return ``(3, H, W)`` of 0 to 255."""
    picture = Image.open(BytesIO(encoded)).convert("RGB")
    if size is not None:
        picture = picture.resize((size, size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.asarray(picture, np.float32).transpose(2, 0, 1).copy())


def _cifar_task(network: nn.Module, data: Path, prepare: Callable[[Tensor], Tensor]) -> Task:
    folder = data / "recognition"
    calibration, _ = cifar(folder / "cifar10_jpeg_train20000.zip", CALIBRATION_IMAGES // 10)
    images, classes = cifar(folder / "cifar10_jpeg_test2000.zip", 200)
    return classification(
        network, prepare(calibration), prepare(images), classes.tolist(), "CIFAR-10 as JPEG"
    )


def _imagenet_task(
    network: nn.Module, data: Path, prepare: Callable[[Tensor], Tensor], size: int | None = None
) -> Task:
    """Divide the sample of ImageNet into calibration and test."""
    with zipfile.ZipFile(data / "recognition" / "imagenet_sample_224.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        images = prepare(torch.stack([_pixels(archive.read(name), size) for name in names]))
    classes = [int(Path(name).name.split("_")[0]) for name in names]
    test = [number for number in range(len(names)) if number % EVERY]
    chosen = [classes[number] for number in test]
    return classification(network, images[::EVERY], images[test], chosen, "ImageNet sample")


def normalized(images: Tensor) -> Tensor:
    """Return pixels by the mean and deviation of ImageNet."""
    mean, deviation = (
        torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_DEVIATION)
    )
    return (images / 255 - mean) / deviation


def blue_first(images: Tensor) -> Tensor:
    """Return pixels less the mean, blue first, as Caffe's networks take them."""
    return images.flip(1) - torch.tensor((104.0, 117.0, 123.0))[:, None, None]


TASKS: dict[str, Callable[[Path], Task]] = {
    "MobileNetV1 ×0.25": lambda data: _imagenet_task(networks.mobilenet(data), data, normalized),
    "SqueezeNet 1.0": lambda data: _imagenet_task(networks.squeezenet(data), data, blue_first, 227),
    "ResNet-20": lambda data: _cifar_task(networks.resnet20(data), data, normalized),
    "ResNet-8": lambda data: _cifar_task(networks.resnet8(data), data, lambda images: images),
    "ESPCN ×3": lambda data: super_resolution(networks.espcn(data), data, 3),
}
"""Makers of tasks, by the name of the network; each takes the folder of data."""
