"""From a trained float network to a fixed-point model that ships."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import fxp
from fxp.support.errors import PrecisionWarning
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import torch

    Network = TypeVar("Network", bound=torch.nn.Module)
else:
    Network = TypeVar("Network")
    torch = lazy_import("torch", "torch")


def refined(network: Network, calibration: Any, **options: Any) -> Network:
    """Return a network with the weights of its refined fixed-point model, as real numbers.

    Channels are equalized, and the rounding of every weight is learned; see
    `fxp.quantization.refinement`. A training with roundings that starts here starts from what is
    possible without it.

    Parameters
    ----------
    network
        In eval mode. Weights that quantization folds into others, such as those of batch
        normalization, cannot be read back: the network then keeps its own weights, and a
        `UserWarning` says so.
    calibration, options
        Of `fxp.quantize`.
    """
    with warnings.catch_warnings():
        # Training will make up for what narrow weights lose here.
        warnings.simplefilter("ignore", PrecisionWarning)
        # No refinements but these two: a bias that another one adds could not be read back.
        model = fxp.quantize(
            network,
            calibration,
            **options,
            effort="fast",
            equalization=True,
            weight_rounding="learned",
        )
    constants = model.graph.constants_by_name
    state = network.state_dict()
    folded = [name for name in state if name not in constants]
    if folded:
        warnings.warn(
            f"the weights are not refined: quantization folds {', '.join(folded[:3])}"
            f"{' and others' if len(folded) > 3 else ''} into other weights; to start from "
            "refined weights, fold batch normalization before, for example by "
            "torch.nn.utils.fuse_conv_bn_eval",
            stacklevel=2,
        )
        return copy.deepcopy(network)
    rounded = copy.deepcopy(network)
    rounded.load_state_dict(
        {
            name: torch.tensor(constants[name].values).reshape(value.shape)
            for name, value in state.items()
        }
    )
    return rounded


def ship(
    network: torch.nn.Module, calibration: Any, *, metadata: Mapping[str, str], **options: Any
) -> fxp.FixedModel:
    """Quantize a trained network, and keep where it comes from.

    What was measured in decibels is left out: its last digits depend on the processor, and shipped
    files are made again byte for byte.

    Parameters
    ----------
    network
        In eval mode.
    calibration, options
        Of `fxp.quantize`.
    metadata
        Text to keep: ``divide_by``, the divisor of pixel values, the name of the weights, of the
        calibration pictures.
    """
    model = fxp.quantize(network, calibration, **options)
    model.metadata = dict(metadata)
    model.calibration_sqnr = {}
    return model
