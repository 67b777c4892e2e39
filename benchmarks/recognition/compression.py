"""What each method of compression makes of a classifier, as in the survey's table.

``python -m benchmarks.recognition.compression --data DIR`` compresses a shipped classifier, trains
it on, and prints training time for each epoch, time of inference, size and accuracy, in float and
in fixed point. ``--publish`` writes docs/benchmarks/recognition.compression.md after every method,
so that a long run can be stopped and continued with ``--missing``.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

import fxp
from benchmarks import report
from benchmarks.recognition.methods import METHODS, Tuner, float_bytes
from benchmarks.report import environment, markdown_table, write_page
from benchmarks.speed.machine import describe
from benchmarks.speed.timing import load_per_processor, load_text
from fxp.compression.layers import plain
from fxp.compression.zero_channels import remove_zero_channels
from fxp.models.common.data import data_folder
from fxp.models.recognition.checkpoints import load_float
from fxp.models.recognition.settings import RecognitionSettings
from fxp.models.recognition.train import accuracy, recipe
from fxp.models.recognition.zoo import released

NAME, TITLE = "recognition.compression", "Compression of a classifier"
HEADER = ("Method", "Epochs", "Training, s for each epoch", "Inference, ms, float", "fixed",
          "Size, MiB", "times smaller", "Accuracy, %, float", "fixed 10/14")  # fmt: skip
MIB = 2**20
RUNS = 30


class Normalized(nn.Module):
    """A released network behind the normalization of its pixels, which are divided by 256 here."""

    mean: Tensor
    scale: Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1) * 255 / 256)
        self.register_buffer("scale", 256 / 255 / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return the scores of the classes."""
        return self.network((images - self.mean) * self.scale)


def milliseconds(function: Callable[[], object], runs: int = RUNS) -> float:
    """Return the shortest time of several runs, after one that warms up."""
    function()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


@dataclass(frozen=True)
class Row:
    """What a method made of a network.

    Attributes
    ----------
    method
        One of `METHODS`.
    epochs
        Of each training.
    training
        Seconds of processor time of an epoch.
    float_time, fixed_time
        Milliseconds of one picture.
    bytes
        What the network is stored in.
    float_accuracy, fixed_accuracy
        Percent of the test pictures.
    """

    method: str
    epochs: float
    training: float
    float_time: float
    fixed_time: float
    bytes: int
    float_accuracy: float
    fixed_accuracy: float

    def cells(self, original: int) -> Sequence[str]:
        """Return the cells of the table."""
        return (
            self.method, f"{self.epochs:g}", f"{self.training:.1f}",
            f"{self.float_time:.2f}", f"{self.fixed_time:.2f}", f"{self.bytes / MIB:.3f}",
            f"{original / self.bytes:.1f}",
            f"{self.float_accuracy:.2f}", f"{self.fixed_accuracy:.2f}",
        )  # fmt: skip


@dataclass(frozen=True)
class Record:
    """Rows of one network, as the JSON beside the page holds them.

    Attributes
    ----------
    network
        Shipped name or file of its weights.
    bytes
        Of its parameters in float32.
    accuracy
        Percent of the test pictures, before any training here.
    rows
        By method.
    """

    network: str
    bytes: int
    accuracy: float
    rows: Mapping[str, Row]

    @classmethod
    def read(cls, path: Path) -> Record | None:
        """Read what an earlier run wrote; None if there is nothing."""
        if not path.exists():
            return None
        found = json.loads(path.read_text("utf-8"))
        return cls(**found | {"rows": {key: Row(**row) for key, row in found["rows"].items()}})

    def with_row(self, row: Row) -> Record:
        """Return the record with one row more, or another in its place, in the usual order."""
        rows = {**self.rows, row.method: row}
        ordered = {method: rows[method] for method in METHODS if method in rows}
        return Record(self.network, self.bytes, self.accuracy, ordered)


def measured(title: str, network: nn.Module, tune: Tuner) -> Row:
    """Compress, train, quantize and measure.

    Parameters
    ----------
    title
        Of a method.
    network
        The trained network.
    tune
        What trains it on.
    """
    torch.manual_seed(0)
    compressed, size = METHODS[title](network, tune)
    compressed = plain(compressed).eval()
    model = remove_zero_channels(fxp.quantize(compressed, **tune.recipe.quantize_options()))
    picture = torch.from_numpy(tune.recipe.batch(0)[0][:1])
    test = tune.recipe.sets["test"]
    with torch.inference_mode():
        float_time = milliseconds(lambda: compressed(picture))
    fixed_time = milliseconds(lambda: model(picture.numpy(), threads=1))
    return Row(title, tune.epochs, tune.seconds, float_time, fixed_time, size,
               accuracy(compressed, test), accuracy(model, test))  # fmt: skip


def table(rows: Sequence[Row], original: int) -> str:
    """Return the table as Markdown."""
    return markdown_table(HEADER, [row.cells(original) for row in rows])


def page(record: Record) -> str:
    """Return the body of the page."""
    return (
        f"`{Path(record.network).name}`, {record.accuracy:.2f} % of 2,000 CIFAR-10 pictures (as "
        "JPEG) in float before. Each method starts from these weights and is trained for very few "
        "epochs on one core; the papers train for many more, so more accuracy can be had. Deep "
        "Compression trains as long in each of its four rounds of pruning, "
        "and half as long with shared weights. *none* is the same training without compression. "
        "Training is the processor time of one core; times of inference are those of one picture "
        "and one thread, the shortest of "
        f"{RUNS}. A size is that of all parameters in float32, of the whole file in the case of "
        "Deep Compression, and with one bit for each binary weight.\n\n"
        f"{table(list(record.rows.values()), record.bytes)}\n\n"
        f"{describe(())['processor']}; {load_text([load_per_processor()])} "
        f"{environment('fxp', 'torch')}"
    )


def network_of(name: str) -> nn.Module:
    """Return a shipped classifier by name, one from a file, or the released ResNet-20 (.npz)."""
    if name.endswith(".npz"):
        return Normalized(released.resnet20(name)).eval()
    return load_float(name)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print or publish."""
    parser = argparse.ArgumentParser(description="Compress a classifier by every method.")
    parser.add_argument("--data", type=Path, help="Folder of the picture sets.")
    parser.add_argument("--weights", default="cifar_vggs", help="Shipped name or file of weights.")
    parser.add_argument("--epochs", type=float, default=1.0, help="Of each training.")
    parser.add_argument("--rate", type=float, default=0.02, help="Highest learning rate.")
    parser.add_argument("--method", action="append", choices=METHODS, help="Only these.")
    parser.add_argument("--threads", type=int, default=1, help="Of PyTorch.")
    parser.add_argument("--publish", action="store_true", help="Write the page.")
    parser.add_argument("--missing", action="store_true", help="Only methods not on the page.")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    network = network_of(options.weights)
    tune = Tuner(recipe(RecognitionSettings(), data_folder(options.data)), options.epochs,
                 options.rate)  # fmt: skip
    given = accuracy(network, tune.recipe.sets["test"])
    print(f"{options.weights}: {given:.2f} % in float before", flush=True)
    folder = report.ROOT / "docs" / "benchmarks"
    record = Record(options.weights, float_bytes(network), given, {})
    known = Record.read(folder / f"{NAME}.json") if options.publish or options.missing else None
    if known is not None and known.network == record.network:
        record = known
    for title in options.method or METHODS:
        if options.missing and title in record.rows:
            continue
        row = measured(title, network, tune)
        record = record.with_row(row)
        print(" | ".join(row.cells(record.bytes)), flush=True)
        if options.publish:
            write_page(folder, NAME, TITLE, page(record), asdict(record))
    print(page(record))


if __name__ == "__main__":
    main()
