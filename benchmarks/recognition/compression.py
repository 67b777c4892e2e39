"""What each method of compression makes of a classifier, as in the survey's table.

``python -m benchmarks.recognition.compression --data DIR`` compresses a shipped classifier, trains
it on, and prints training time for each epoch, time of inference, size and accuracy, in float and
in fixed point. ``--publish`` writes docs/benchmarks/recognition.compression.md.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

import fxp
from benchmarks.report import ROOT, environment, markdown_table, write_page
from fxp.compression.channel_pruning import prune_channels, taylor_scores
from fxp.compression.compressed_file import save_compressed
from fxp.compression.decomposition import (
    cp_convolution,
    decompose,
    tucker_convolution,
    tucker_ranks,
)
from fxp.compression.hashing import hash_layers, hashed_parameters
from fxp.compression.layers import layers_of, plain, replace_layer
from fxp.compression.pruning import prune_weights
from fxp.compression.tensor_train import tensor_train_linear
from fxp.compression.weight_sharing import share_weights
from fxp.compression.zero_channels import remove_zero_channels
from fxp.models.common.data import data_folder
from fxp.models.recognition.checkpoints import load_float
from fxp.models.recognition.settings import RecognitionSettings
from fxp.models.recognition.train import RecognitionRecipe, accuracy, recipe
from fxp.models.recognition.zoo import released

HEADER = ("Method", "Training, s for each epoch", "Inference, ms, float", "fixed", "Size, MiB",
          "times smaller", "Accuracy, %, float", "fixed 10/14")  # fmt: skip
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


@dataclass
class Tuner:
    """Trains a network on, and notes how long an epoch takes.

    Attributes
    ----------
    recipe
        Pictures, loss and scores.
    epochs
        For each training; a method may train several times.
    rate
        Highest learning rate; it falls to zero along a cosine.
    seconds
        Of one epoch of the last training.
    """

    recipe: RecognitionRecipe
    epochs: float
    rate: float
    seconds: float = math.nan

    def __call__(self, network: nn.Module, share: float = 1.0) -> nn.Module:
        """Train a network in place, for a share of the epochs, and return it in eval mode."""
        count = self.recipe.batches.count // self.recipe.batches.size
        steps = round(count * self.epochs * share)
        optimizer = torch.optim.SGD(network.parameters(), self.rate, 0.9, nesterov=True)
        network.train()
        start = time.perf_counter()
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = self.rate * (1 + math.cos(math.pi * step / steps)) / 2
            batch = self.recipe.tensors(self.recipe.batch(step), "cpu")
            optimizer.zero_grad()
            self.recipe.loss(network, batch, finishing=False).backward()
            optimizer.step()
        if steps:
            self.seconds = (time.perf_counter() - start) / steps * count
        return network.eval()


Method = Callable[[nn.Module, Tuner], tuple[nn.Module, int]]
"""Returns the network with ordinary weights, and the bytes that it is stored in."""


def float_bytes(network: nn.Module) -> int:
    """Return the bytes of all parameters in float32."""
    return 4 * sum(parameter.numel() for parameter in network.parameters())


def unchanged(network: nn.Module, tune: Tuner) -> tuple[nn.Module, int]:
    """Train on without compression, for the time and as much training as the others have."""
    tuned = tune(plain(network))
    return tuned, float_bytes(tuned)


def taylor(network: nn.Module, tune: Tuner) -> tuple[nn.Module, int]:
    """Remove a third of the channels."""
    batches = [tune.recipe.tensors(tune.recipe.batch(number), "cpu") for number in range(4)]

    def loss(net: nn.Module, batch: Sequence[Tensor]) -> Tensor:
        return tune.recipe.loss(net, batch, finishing=False)

    scores = taylor_scores(network, batches, loss)
    pruned = prune_channels(network, batches[0][0][:2], 0.33, scores=scores, scope="global")
    return tune(pruned), float_bytes(pruned)


def deep_compression(
    network: nn.Module,
    tune: Tuner,
    *,
    fraction: float = 0.9,
    convolution_bits: int = 5,
    linear_bits: int = 4,
    rounds: int = 4,
) -> tuple[nn.Module, int]:
    """Prune in rounds, share, and write the file.

    Parameters
    ----------
    network, tune
        As for every `Method`.
    fraction
        Share of the weights that become zero in the end.
    convolution_bits, linear_bits
        Width of the codes.
    rounds
        In which the fraction rises; each is trained.
    """  # fmt: skip
    for number in range(1, rounds + 1):
        # The share of weights that are left falls by the same factor in each round.
        network = prune_weights(network, 1 - (1 - fraction) ** (number / rounds))
        network = tune(network)
    shared = share_weights(network, convolution_bits=convolution_bits, linear_bits=linear_bits)
    result = plain(tune(shared, 0.5))
    with tempfile.TemporaryDirectory() as folder:
        sizes = save_compressed(result.state_dict(), Path(folder) / "network.fxpc")
    return result, sizes.compressed


def hashed(network: nn.Module, tune: Tuner) -> tuple[nn.Module, int]:
    """Store an eighth of the weights of linear layers."""
    result = tune(hash_layers(network))
    return plain(result), 4 * hashed_parameters(result)


def cp(network: nn.Module, tune: Tuner) -> tuple[nn.Module, int]:
    """Decompose each convolution at a quarter of its weights."""

    def quarter(layer: nn.Conv2d) -> nn.Module:
        return cp_convolution(layer, max(1, layer.weight.numel() // 4 // sum(layer.weight.shape)))

    result = tune(decompose(network, quarter))
    return result, float_bytes(result)


def tucker(network: nn.Module, tune: Tuner) -> tuple[nn.Module, int]:
    """Decompose each convolution at a relative error of 0.4."""
    result = tune(
        decompose(network, lambda layer: tucker_convolution(layer, tucker_ranks(layer, 0.4)))
    )
    return result, float_bytes(result)


def tensor_train(network: nn.Module, tune: Tuner) -> tuple[nn.Module, int]:
    """Make two cores of each linear layer of 4096 weights or more."""
    result = plain(network)
    for name, layer in layers_of(result, (nn.Linear,)).items():
        assert isinstance(layer, nn.Linear)
        if layer.weight.numel() >= 4096:
            inputs, outputs = _halves(layer.in_features), _halves(layer.out_features)
            most = min(inputs[0] * outputs[0], inputs[1] * outputs[1])
            replace_layer(result, name, tensor_train_linear(layer, inputs, outputs, [most // 8]))
    return tune(result), float_bytes(result)


def _halves(features: int) -> tuple[int, int]:
    """Return two factors near each other."""
    first = next(n for n in range(math.isqrt(features), 0, -1) if features % n == 0)
    return first, features // first


METHODS: dict[str, Method] = {
    "none": unchanged,
    "Taylor channel pruning": taylor,
    "Deep Compression": deep_compression,
    "HashedNets, 1/8": hashed,
    "CP decomposition": cp,
    "Tucker-2": tucker,
    "tensor train, linear layers": tensor_train,
}


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
    """What a method made of the network; accuracies in percent of the test pictures."""

    method: str
    training: float
    float_time: float
    fixed_time: float
    bytes: int
    float_accuracy: float
    fixed_accuracy: float

    def cells(self, original: int) -> Sequence[str]:
        """Return the cells of the table."""
        return (
            self.method, f"{self.training:.1f}", f"{self.float_time:.2f}", f"{self.fixed_time:.2f}",
            f"{self.bytes / MIB:.3f}", f"{original / self.bytes:.1f}",
            f"{self.float_accuracy:.2f}", f"{self.fixed_accuracy:.2f}",
        )  # fmt: skip


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
    return Row(title, tune.seconds, float_time, fixed_time, size, accuracy(compressed, test),
               accuracy(model, test))  # fmt: skip


def table(rows: Sequence[Row], original: int) -> str:
    """Return the table as Markdown."""
    return markdown_table(HEADER, [row.cells(original) for row in rows])


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
    parser.add_argument("--epochs", type=float, default=5.0, help="Of each training.")
    parser.add_argument("--rate", type=float, default=0.02, help="Highest learning rate.")
    parser.add_argument("--method", action="append", choices=METHODS, help="Only these.")
    parser.add_argument("--threads", type=int, default=1, help="Of PyTorch.")
    parser.add_argument("--publish", action="store_true", help="Write the page.")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    network = network_of(options.weights)
    tune = Tuner(recipe(RecognitionSettings(), data_folder(options.data)), options.epochs,
                 options.rate)  # fmt: skip
    given = accuracy(network, tune.recipe.sets["test"])
    print(f"{options.weights}: {given:.2f} % in float before", flush=True)
    rows = []
    for title in options.method or METHODS:
        rows.append(measured(title, network, tune))
        print(" | ".join(rows[-1].cells(float_bytes(network))), flush=True)
    body = f"{table(rows, float_bytes(network))}\n\n{environment('fxp', 'torch')}"
    if options.publish:
        intro = (
            f"`{Path(options.weights).name}`, {given:.2f} % of 2,000 CIFAR-10 pictures (as JPEG) "
            f"in float before. Each training takes {options.epochs:g} epochs. Times are those of "
            "one picture and one thread; a size is that of all parameters in float32, and of the "
            "whole file in the case of Deep Compression.\n\n"
        )
        write_page(ROOT / "docs" / "benchmarks", "recognition.compression",
                   "Compression of a classifier", intro + body)  # fmt: skip
    else:
        print(body)


if __name__ == "__main__":
    main()
