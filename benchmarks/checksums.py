"""Checksums of the integers that the project publishes.

``python -m benchmarks.checksums`` computes them and compares them with the recorded ones: exit code
1 if any differs. With ``--record`` it replaces the record. A change of the code that is meant to
keep all integers is run through this before and after.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import skimage.data
import skimage.io
import torch

import fxp
from benchmarks.quantization.kimsr import REFINED, VARIANTS, photographs
from fxp import hls
from fxp.cli import main as command
from fxp.formats import quantize
from fxp.models import sr
from fxp.models.flash.pipeline import Relighter
from fxp.models.flash.shipped import load as load_flash
from fxp.models.sr.fixed import calibration_images

RECORD = Path(__file__).parents[1] / "docs" / "benchmarks" / "checksums.json"


def digest(*arrays: object) -> str:
    """SHA-256 of arrays: dtype kind, shape and values, or of bytes."""
    total = hashlib.sha256()
    for array in arrays:
        if isinstance(array, bytes):
            total.update(array)
        else:
            values = np.ascontiguousarray(array, np.int64)
            total.update(repr(values.shape).encode())
            total.update(values.tobytes())
    return total.hexdigest()[:16]


def files(folder: Path, pattern: str) -> str:
    """SHA-256 of all files of a folder that match, with their names."""
    parts: list[bytes] = []
    for path in sorted(folder.rglob(pattern)):
        parts += [path.name.encode(), path.read_bytes()]
    return digest(*parts)


def pixels(path: Path) -> str:
    """SHA-256 of the pixels of a picture; the file around them may change."""
    return digest(skimage.io.imread(path))


def networks() -> Iterator[tuple[str, torch.nn.Module]]:
    """Networks of every kind, with weights from a fixed seed."""
    torch.manual_seed(1)
    layers = torch.nn
    yield "convolutions", layers.Sequential(
        layers.Conv2d(3, 16, 3, padding=1), layers.BatchNorm2d(16), layers.PReLU(16),
        layers.Conv2d(16, 16, 5, padding=2, groups=4), layers.ReLU6(),
        layers.ConvTranspose2d(16, 8, 4, 2, 1), layers.Sigmoid(), layers.Conv2d(8, 3, 1),
    ).eval()  # fmt: skip
    yield "classifier", layers.Sequential(
        layers.Conv2d(3, 24, 3, 2, 1), layers.ReLU(), layers.MaxPool2d(2),
        layers.Conv2d(24, 24, 3, padding=1, groups=24), layers.Tanh(), layers.AvgPool2d(2),
        layers.AdaptiveAvgPool2d(1), layers.Flatten(), layers.Linear(24, 10), layers.Softmax(1),
    ).eval()  # fmt: skip


def measured() -> Iterator[tuple[str, str]]:
    """Yield every name with its checksum."""
    pictures = photographs()
    network = sr.load_float("kimsr_x2_bicubic")
    calibration = calibration_images()
    for name, options in (*VARIANTS, *REFINED):
        model = fxp.quantize(
            network, calibration, input_format=sr.PIXEL, output_format=sr.PIXEL, **options
        )
        constants = [constant.data for constant in model.graph.constants]
        results = [model.run_raw(picture.small) for picture in pictures]
        yield f"quantization: {name}", digest(*constants, *results)
    random = np.random.default_rng(0)
    for name, module in networks():
        images = [torch.from_numpy(random.random((1, 3, 32, 32))).float() for _ in range(2)]
        model = fxp.quantize(module, images)
        constants = [constant.data for constant in model.graph.constants]
        taken = model.graph.inputs[0].format
        assert taken is not None
        result = model.run_raw(quantize(images[0][0].numpy(), taken))
        yield f"network: {name}", digest(*constants, result)
    for name in ("kimsr_x2_bicubic", "kimsr_x2_compressed"):
        upscaler = sr.Upscaler(sr.load(name))
        for picture in ("coffee", "camera"):
            image = getattr(skimage.data, picture)()[:201, :303]
            yield f"upscale: {name}, {picture}", digest(upscaler(image))
    yield (
        "relight: flash_small, coffee",
        digest(Relighter(load_flash("flash_small"))(skimage.data.coffee()[:201, :303])),
    )
    for style in ("dsp", "shift_add"):
        with tempfile.TemporaryDirectory() as folder:
            hls.emit_rtl(
                sr.load("kimsr_x2"), Path(folder) / "core", max_width=640, multipliers=style
            )
            yield f"core: {style}", files(Path(folder), "*.sv")
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        assert command(["demo", "--out", str(folder / "demo")]) == 0
        for path in sorted((folder / "demo").glob("*.png")):
            yield f"fxp demo: {path.name}", pixels(path)
        source = folder / "coffee.png"
        skimage.io.imsave(source, skimage.data.coffee()[:120, :161], check_contrast=False)
        assert command(["upscale", str(source), str(folder / "large.png")]) == 0
        yield "fxp upscale: coffee", pixels(folder / "large.png")


def main(arguments: list[str]) -> int:
    """Compare, or record."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.checksums", description=__doc__)
    parser.add_argument("--record", action="store_true", help="replace the record")
    given = parser.parse_args(arguments)
    found: dict[str, str] = {}
    for name, checksum in measured():
        found[name] = checksum
        print(f"{checksum}  {name}", flush=True)
    if given.record:
        RECORD.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
        return 0
    recorded = json.loads(RECORD.read_text())
    changed = sorted(name for name in recorded | found if recorded.get(name) != found.get(name))
    for name in changed:
        print(f"changed: {name}", file=sys.stderr)
    return bool(changed)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
