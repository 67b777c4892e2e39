"""Pairs of blurred and sharp photographs: the layouts of GOPRO and of Köhler, folders, patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from fxp.imaging.files import IMAGE_SUFFIXES, image_paths
from fxp.models.common.data import DataError, dihedral
from fxp.models.common.pairs import marked_pairs, read_same_size, rgb
from fxp.models.deblur.blur import camera_shake

GOPRO_PARTS: Final = ("train", "test")
SATURATION: Final = (0.5, 1.5)
NOISE: Final = 2 / 255
"""Deviation of the noise's own deviation."""

Patch = NDArray[np.float32]
"""``(3, side, side)`` in [0, 1]."""


@dataclass(frozen=True)
class PairFiles:
    """The files of a blurred photograph and of the sharp one.

    Attributes
    ----------
    blurred, sharp
        Images of one size.
    """

    blurred: Path
    sharp: Path

    def read(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return both as ``(H, W, 3)`` uint8.

        Raises
        ------
        DataError
            If their sizes differ.
        ImageError
            If one of them cannot be read.
        """
        blurred, sharp = map(rgb, read_same_size(self.blurred, self.sharp))
        return blurred, sharp


def gopro_pairs(folder: str | Path, part: str = "test", *, linear: bool = False) -> list[PairFiles]:
    """Return the pairs of the GOPRO data set.

    Parameters
    ----------
    folder
        ``GOPRO_Large``, which holds ``train|test/SEQUENCE/{blur,blur_gamma,sharp}/NNNNNN.png``.
    part
        ``"train"`` or ``"test"``.
    linear
        Take the photographs of a camera without gamma, ``blur``, not ``blur_gamma``. The paper's
        figures are for those with gamma.

    Raises
    ------
    DataError
        If a folder or a partner is missing.
    """
    root = Path(folder) / part
    if part not in GOPRO_PARTS or not root.is_dir():
        raise DataError(f"no folder {root}; GOPRO has {' and '.join(GOPRO_PARTS)}")
    sequences = sorted(item for item in root.iterdir() if item.is_dir())
    if not sequences:
        raise DataError(f"no sequences in folder {root}")
    name = "blur" if linear else "blur_gamma"
    return [
        pair for sequence in sequences for pair in folder_pairs(sequence / name, sequence / "sharp")
    ]


def folder_pairs(blurred: str | Path, sharp: str | Path | None = None) -> list[PairFiles]:
    """Return pairs of files of one name in two folders, or of one folder.

    Parameters
    ----------
    blurred
        Folder of blurred images.
    sharp
        Folder of sharp images, by the same names without their suffixes; by default there is one
        folder, with ``NAME_blur.png`` beside ``NAME_sharp.png``, or such in its subfolders.

    Raises
    ------
    DataError
        If a folder is missing, or an image lacks its partner.
    """
    if sharp is None:
        return [PairFiles(*pair) for pair in marked_pairs(blurred, "blur", "sharp").values()]
    for folder in (Path(blurred), Path(sharp)):
        if not folder.is_dir():
            raise DataError(f"no folder {folder}")
    ours, theirs = (_by_stem(Path(folder)) for folder in (blurred, sharp))
    for one, other, place in ((ours, theirs, sharp), (theirs, ours, blurred)):
        for stem in sorted(one.keys() - other.keys()):
            raise DataError(f"{one[stem]} has no partner in {place}")
    return [PairFiles(ours[stem], theirs[stem]) for stem in sorted(ours)]


def _by_stem(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in image_paths(folder):
        other = found.setdefault(path.stem, path)
        if other != path:
            raise DataError(f"two photographs for one: {other} and {path}; remove one")
    return found


@dataclass(frozen=True)
class KohlerItem:
    """A photograph of the Köhler benchmark, and what the camera saw while it shook.

    Attributes
    ----------
    blurred
        ``BlurryImages/BlurryI_K.png``.
    sharp
        ``ImageI/KernelK/GroundTruthI_K_N.png``, about 199 views along the camera's path. A result
        is compared with the view that is most like it.
    """

    blurred: Path
    sharp: tuple[Path, ...]


def kohler_items(folder: str | Path) -> list[KohlerItem]:
    """Return the photographs of the Köhler benchmark.

    Parameters
    ----------
    folder
        Holds ``BlurryImages`` and ``Image1`` to ``Image4``, as the archives unpack; folders named
        as the archives, ``GroundTruth_pngs_ImageI``, may be between.

    Raises
    ------
    DataError
        If a folder is missing, or a photograph has no views.

    References
    ----------
    R. Köhler et al., "Recording and Playback of Camera Shake: Benchmarking Blind Deconvolution
    with a Real-World Database", ECCV 2012.
    """
    root = Path(folder)
    if not (root / "BlurryImages").is_dir():
        raise DataError(f"no folder {root / 'BlurryImages'}")
    items = []
    for path in sorted(root.glob("BlurryImages/Blurry*_*.png"), key=_numbers):
        image, kernel = _numbers(path)
        pattern = f"Image{image}/Kernel{kernel}/GroundTruth{image}_{kernel}_*.png"
        views = [*root.glob(pattern), *root.glob(f"GroundTruth_pngs_Image{image}/{pattern}")]
        if not views:
            raise DataError(f"{path} has no views {pattern} in {root}")
        items.append(KohlerItem(path, tuple(sorted(views, key=_numbers))))
    if not items:
        raise DataError(f"no photographs Blurry*_*.png in folder {root / 'BlurryImages'}")
    return items


def _numbers(path: Path) -> tuple[int, ...]:
    """Return the numbers of a file name, so that 10 comes after 9."""
    digits = "".join(letter if letter.isdigit() else " " for letter in path.stem)
    return tuple(map(int, digits.split()))


def sequences(folder: str | Path) -> dict[str, list[Path]]:
    """Return the frames of every sequence: the images of each folder in a folder, by name.

    Raises
    ------
    DataError
        If there is no such folder, or no folder in it holds images.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"no folder {root}")
    found = {
        item.name: image_paths(item)
        for item in sorted(root.iterdir())
        if item.is_dir() and any(file.suffix.lower() in IMAGE_SUFFIXES for file in item.iterdir())
    }
    if not found:
        raise DataError(f"no folders of frames in {root}")
    return found


def read_frames(paths: Sequence[Path]) -> list[NDArray[np.uint8]]:
    """Read the frames of a sequence.

    Raises
    ------
    DataError
        If one differs in size from the first; the message names it.
    ImageError
        If one cannot be read.
    """
    return [rgb(frame) for frame in read_same_size(*paths)]


class PatchSource(Protocol):
    """Where a training gets its patches from."""

    def patch(self, random: np.random.Generator, side: int) -> tuple[Patch, Patch]:
        """Draw a blurred patch and the sharp one."""
        ...

    def __len__(self) -> int:
        """Return the number of pictures or pairs."""
        ...


@dataclass(frozen=True)
class ShakenPictures:
    """Sharp pictures before a camera that moves, see `camera_shake`.

    Attributes
    ----------
    pictures
        ``(H, W, 3)`` uint8.
    """

    pictures: Sequence[NDArray[np.uint8]]

    def patch(self, random: np.random.Generator, side: int) -> tuple[Patch, Patch]:
        """Draw a patch of any picture."""
        return camera_shake(self.pictures[int(random.integers(len(self.pictures)))], random, side)

    def __len__(self) -> int:
        return len(self.pictures)


@dataclass(frozen=True)
class Pairs:
    """Pairs in memory, or in files that are read when they are drawn.

    Attributes
    ----------
    pairs
        `PairFiles`, or arrays ``(H, W, 3)`` uint8.
    """

    pairs: Sequence[PairFiles | tuple[NDArray[np.uint8], NDArray[np.uint8]]]

    def patch(self, random: np.random.Generator, side: int) -> tuple[Patch, Patch]:
        """Draw a patch of any pair.

        Raises
        ------
        DataError
            If the pair is smaller than the patch.
        """
        pair = self.pairs[int(random.integers(len(self.pairs)))]
        blurred, sharp = pair.read() if isinstance(pair, PairFiles) else pair
        height, width = sharp.shape[:2]
        if min(height, width) < side:
            name = f"{pair.sharp} of " if isinstance(pair, PairFiles) else "a pair of "
            raise DataError(f"{name}{width}x{height} pixels is smaller than the patches of {side}")
        top, left = (int(random.integers(size - side + 1)) for size in (height, width))
        window = np.s_[top : top + side, left : left + side]
        first, second = (
            (item[window].transpose(2, 0, 1) / np.float32(255)).astype(np.float32)
            for item in (blurred, sharp)
        )
        return first, second

    def __len__(self) -> int:
        return len(self.pairs)


def augmented(blurred: Patch, sharp: Patch, random: np.random.Generator) -> tuple[Patch, Patch]:
    """Vary a pair as the paper does.

    Both are mirrored and turned by quarters, their channels exchanged, and their saturation in HSV
    multiplied by 0.5 to 1.5. The blurred patch gets noise whose deviation is drawn from
    N(0, 2/255).

    Parameters
    ----------
    blurred, sharp
        The pair.
    random
        Where the randomness comes from.
    """
    view, order = int(random.integers(8)), random.permutation(3)
    factor = random.uniform(*SATURATION)
    both = []
    for patch in (blurred, sharp):
        turned = np.stack([dihedral(plane, view) for plane in patch[order]])
        both.append(saturated(turned, factor))
    noise = abs(random.normal(0, NOISE)) * random.standard_normal(both[0].shape, np.float32)
    return np.clip(both[0] + noise.astype(np.float32), 0, 1), both[1]


def saturated(image: NDArray[np.float32], factor: float) -> NDArray[np.float32]:
    """Multiply the saturation of HSV, at most to 1; hue and value stay.

    Parameters
    ----------
    image
        ``(3, H, W)`` RGB in [0, 1].
    factor
        0 gives grey.
    """
    value, low = image.max(0), image.min(0)
    # Of saturation s, a channel is value * (1 - s * share): its distance from value scales with s.
    most = np.divide(value, value - low, out=np.ones_like(value), where=value > low)
    return value - (value - image) * np.minimum(np.float32(factor), most)
