"""The methods of compression as functions of a network and of what trains it on."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

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
from fxp.models.recognition.binary import (
    BinaryConv2d,
    BinaryLinear,
    XnorConv2d,
    XnorLinear,
    binarized,
    constrain,
)
from fxp.models.recognition.train import RecognitionRecipe
from fxp.models.recognition.zoo.cifar import CifarVGGS

BINARY_RATE = 0.002
"""Highest learning rate of binary networks, which Adam trains."""


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
        Processor time of one epoch of the last training.
    """

    recipe: RecognitionRecipe
    epochs: float
    rate: float
    seconds: float = math.nan

    def __call__(
        self, network: nn.Module, share: float = 1.0, *, binary: bool = False
    ) -> nn.Module:
        """Train a network in place, and return it in eval mode.

        Parameters
        ----------
        network
            What trains.
        share
            Of the epochs.
        binary
            Whether it is a binary network, which is trained by Adam and constrained in each step.
        """
        count = self.recipe.batches.count // self.recipe.batches.size
        steps = round(count * self.epochs * share)
        parameters, rate = list(network.parameters()), BINARY_RATE if binary else self.rate
        optimizer: torch.optim.Optimizer = (
            torch.optim.Adam(parameters, rate)
            if binary
            else torch.optim.SGD(parameters, rate, 0.9, nesterov=True)
        )
        network.train()
        start = time.process_time()
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = rate * (1 + math.cos(math.pi * step / steps)) / 2
            if binary:
                constrain(network)
            batch = self.recipe.tensors(self.recipe.batch(step), "cpu")
            optimizer.zero_grad()
            self.recipe.loss(network, batch, finishing=False).backward()
            optimizer.step()
        if steps:
            self.seconds = (time.process_time() - start) / steps * count
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


def binary_weights(network: nn.Module, tune: Tuner) -> tuple[nn.Module, int]:
    """Make signs, times a number for each output, of all layers but the first and the last."""
    result = tune(binarized(plain(network)), binary=True)
    return result, binary_bytes(result)


def xnor(network: nn.Module, tune: Tuner) -> tuple[nn.Module, int]:
    """Make signs of the weights and of the activations of all layers but the first and the last."""
    if not isinstance(network, CifarVGGS):
        raise ValueError(f"XNOR-Net is measured on a CifarVGGS, not on a {type(network).__name__}")
    result = tune(xnor_vggs(network), binary=True)
    return result, binary_bytes(result)


def xnor_vggs(network: CifarVGGS) -> CifarVGGS:
    """Return a copy whose inner layers are those of XNOR-Net.

    Their inputs are normalized values without a ReLU; linear layers get a normalization of their
    own, and no dropout. A maximum pooling between a normalization and the next sign keeps its
    place: the sign of the largest value is the largest of the signs.
    """
    result = plain(network)
    features = list(result.features)
    convolutions = [place for place, module in enumerate(features) if type(module) is nn.Conv2d]
    layers: list[nn.Module] = []
    for place, module in enumerate(features):
        if place in convolutions[1:]:
            assert isinstance(module, nn.Conv2d)
            inner = XnorConv2d(module.in_channels, module.out_channels, 3, padding=1, bias=False)
            inner.load_state_dict(module.state_dict())
            layers.append(inner)
        elif not isinstance(module, nn.ReLU):
            layers.append(module)
    result.features = nn.Sequential(*layers)
    *inner_linear, last = (item for item in result.classifier if isinstance(item, nn.Linear))
    classifier: list[nn.Module] = []
    for given in inner_linear:
        layer = XnorLinear(given.in_features, given.out_features)
        layer.load_state_dict(given.state_dict())
        classifier += [layer, nn.BatchNorm1d(given.out_features)]
    result.classifier = nn.Sequential(*classifier, nn.ReLU(), last)
    return result


def binary_bytes(network: nn.Module) -> int:
    """Return the bytes of a network whose binary layers store a bit for each weight.

    Beside these, each output has its size as a number, and all other parameters are float32.
    """
    binary = [item for item in network.modules() if isinstance(item, BinaryConv2d | BinaryLinear)]
    saved = sum(
        4 * item.weight.numel() - math.ceil(item.weight.numel() / 8) - 4 * len(item.weight)
        for item in binary
    )
    return float_bytes(network) - saved


METHODS: dict[str, Method] = {
    "none": unchanged,
    "Taylor channel pruning": taylor,
    "Deep Compression": deep_compression,
    "HashedNets, 1/8": hashed,
    "CP decomposition": cp,
    "Tucker-2": tucker,
    "tensor train, linear layers": tensor_train,
    "binary weights (BWN)": binary_weights,
    "XNOR-Net": xnor,
}
