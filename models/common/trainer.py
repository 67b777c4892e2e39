"""Training loop of any system: steps, running average, measurements and checkpoints."""

from __future__ import annotations

import io
import math
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_optimizer import SOAP
from torch import Tensor, nn

import fxp
from fxp.models.common.recipe import Model, Recipe
from fxp.models.common.settings import Optimizer, Precision, TrainingError
from fxp.models.common.ship import refined
from fxp.support.errors import PrecisionWarning
from fxp.support.files import replace_file
from fxp.support.progress import Progress

NETWORK = "network"
"""Name of the network among the modules that train."""
FACTOR = "factor"
"""Of the learning rate of a group of parameters; checkpoints of earlier versions have none."""


@dataclass(frozen=True)
class Report:
    """Measurements at the end of an epoch.

    Attributes
    ----------
    step
        Steps done.
    loss
        Mean training loss of the epoch.
    scores
        Scores of the averaged weights by name, of the fixed-point model if the run trains one.
    improved
        The first of the scores is the best so far.
    seconds
        Duration of the epoch.
    """

    step: int
    loss: float
    scores: dict[str, float]
    improved: bool
    seconds: float


def update_average(average: dict[str, Tensor], weights: Mapping[str, Tensor], decay: float) -> None:
    """Move a running average towards the present weights, in place.

    Parameters
    ----------
    average
        The average by name; becomes ``decay * average + (1 - decay) * weights``.
    weights
        The present weights; whole numbers, such as counters, are copied.
    decay
        Share of the average that stays, 0 to 1.
    """
    for name, weight in weights.items():
        if weight.is_floating_point():
            average[name].lerp_(weight, 1.0 - decay)
        else:
            average[name].copy_(weight)


class Trainer:
    """Training state: modules, their optimizers, running average, best score.

    Parameters
    ----------
    recipe
        What the system brings.
    start
        Network to start from; by default a new one.
    device
        Where to train: ``"cpu"`` or ``"cuda"``.

    Attributes
    ----------
    modules : dict
        What trains, by name: ``network`` and the helpers of the recipe.
    average : dict
        Running average of the network's weights.
    step : int
        Steps done.
    best : float
        Best first score so far.

    Raises
    ------
    TrainingError
        If the network to start from is another one.
    """

    def __init__(
        self, recipe: Recipe[Any], *, start: nn.Module | None = None, device: str = "cpu"
    ) -> None:
        self.recipe, self.settings, self.device = recipe, recipe.settings, device
        settings = self.settings
        torch.manual_seed(settings.seed)
        network = recipe.network()
        self._names = list(network.state_dict())
        if start is not None:
            _check_same(start, network)
            network.load_state_dict(start.state_dict())
        self.modules = {NETWORK: self._prepared(network).to(device)}
        self.modules |= {name: item.to(device) for name, item in recipe.helpers().items()}
        self.optimizers = {name: self._optimizer(item) for name, item in self.modules.items()}
        self._loss = torch.compile(recipe.loss) if settings.compiled else recipe.loss
        self.average = {name: value.clone() for name, value in self.weights().items()}
        self.step = 0
        self.best = -math.inf

    @property
    def network(self) -> nn.Module:
        """The network as it trains."""
        return self.modules[NETWORK]

    def _prepared(self, network: nn.Module) -> nn.Module:
        """Return the module that trains."""
        if not self.settings.fixed:
            return self.recipe.prepared(network)
        options = self.recipe.quantize_options() | self.settings.widths()
        return fxp.prepare_qat(refined(network.eval(), **options), **options)

    def _optimizer(self, module: nn.Module) -> torch.optim.Optimizer:
        layers: dict[float, list[nn.Parameter]] = {}
        for name, parameter in module.named_parameters():
            layers.setdefault(self.recipe.layer_factor(name), []).append(parameter)
        parameters = [{"params": items, FACTOR: factor} for factor, items in layers.items()]
        rate = self.settings.rate
        decay = self.recipe.weight_decay
        if self.settings.optimizer == Optimizer.SOAP:
            return SOAP(parameters, rate, weight_decay=decay)
        if self.settings.optimizer == Optimizer.SGD:
            return torch.optim.SGD(
                parameters, rate, momentum=0.9, weight_decay=decay, nesterov=True
            )
        return torch.optim.Adam(parameters, rate, betas=self.recipe.betas, weight_decay=decay)

    def weights(self) -> dict[str, Tensor]:
        """Return the present weights of the plain network, whatever `Recipe.prepared` added."""
        return {name: attrgetter(name)(self.network).detach() for name in self._names}

    def loss(self, batch: Sequence[Tensor]) -> Tensor:
        """Return the recipe's loss of a batch at the present step, in the run's precision."""
        reduced = self.settings.precision == Precision.BFLOAT16
        with torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=reduced):
            finishing = self.settings.finishing_at(self.step)
            return self._loss(self.network, batch, finishing=finishing)

    def update(self, name: str, loss: Tensor) -> float:
        """Move one module down a loss, and return the loss.

        Parameters
        ----------
        name
            Name of the module.
        loss
            A scalar.

        Raises
        ------
        TrainingError
            If the loss is not finite; nothing has changed then.
        """
        value = loss.item()
        if not math.isfinite(value):
            raise TrainingError(f"loss is not finite after step {self.step}; lower --rate")
        optimizer = self.optimizers[name]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return value

    def _check_finite(self) -> None:
        """Raise `TrainingError` if the last steps have spoiled the weights by a finite loss."""
        for name, module in self.modules.items():
            if not all(bool(value.isfinite().all()) for value in module.parameters()):
                raise TrainingError(
                    f"the weights of the {name} are not finite after step {self.step}; lower --rate"
                )

    def _train_step(self) -> float:
        settings = self.settings
        for name, optimizer in self.optimizers.items():
            for group in optimizer.param_groups:
                factor = self.recipe.rate_factor(name) * group.get(FACTOR, 1.0)
                group["lr"] = settings.rate_at(self.step) * factor
        batch = self.recipe.tensors(self.recipe.batch(self.step), self.device)
        # The roundings of a fixed-point model need all bits of float32.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=not settings.fixed):
            value = self.recipe.step(self, batch)
        self.step += 1
        update_average(self.average, self.weights(), settings.decay_after(self.step))
        return value

    def averaged(self) -> nn.Module:
        """Return the plain network with the averaged weights, on the CPU in eval mode."""
        network = self.recipe.network()
        network.load_state_dict(self.average)
        return network.eval()

    def trained(self) -> Model:
        """Return what is measured: the averaged network, quantized if the run has roundings.

        Its weights are rounded to nearest, as in training: refinements would measure other ones.
        """
        network = self.averaged()
        if not self.settings.fixed:
            return network
        options = self.recipe.quantize_options() | self.settings.widths()
        with warnings.catch_warnings():
            # The scores of the epoch say how good it is.
            warnings.simplefilter("ignore", PrecisionWarning)
            return fxp.quantize(network, **options, effort="fast", weight_rounding="nearest")

    def run_epoch(self, progress: Progress | None = None) -> Report:
        """Train to the next multiple of the epoch length or the end, then measure.

        Parameters
        ----------
        progress
            Told of every step.

        Raises
        ------
        TrainingError
            If the loss or a weight is no longer finite.
        """
        started = time.monotonic()
        settings = self.settings
        end = min(settings.steps, (self.step // settings.epoch + 1) * settings.epoch)
        losses = []
        while self.step < end:
            losses.append(self._train_step())
            if progress is not None:
                progress(self.step, settings.steps, "")
        self._check_finite()
        mean = float(np.mean(losses)) if losses else math.nan
        if isinstance(self.network, fxp.QatModel):
            # The formats follow the weights, and are those that the final conversion will choose.
            self.network.requantize()
        # Measuring must not move the random numbers of the steps.
        random = torch.get_rng_state()
        scores = self.recipe.scores(self.trained())
        torch.set_rng_state(random)
        chosen = next(iter(scores.values()))
        improved = chosen > self.best
        self.best = max(self.best, chosen)
        return Report(self.step, mean, scores, improved, time.monotonic() - started)

    def checkpoint(self) -> dict[str, Any]:
        """Return the state that `restore` needs to continue bit for bit."""
        state = {
            "settings": self.settings.plain(),
            "modules": {name: item.state_dict() for name, item in self.modules.items()},
            "optimizers": {name: item.state_dict() for name, item in self.optimizers.items()},
            "average": self.average,
            "random": torch.get_rng_state(),
            "step": self.step,
            "best": self.best,
        }
        if torch.device(self.device).type == "cuda":
            state["random_cuda"] = torch.cuda.get_rng_state(self.device)
        return state

    def save_checkpoint(self, path: Path) -> None:
        """Write the checkpoint atomically."""
        buffer = io.BytesIO()
        torch.save(self.checkpoint(), buffer)
        replace_file(path, buffer.getvalue())

    def restore(self, path: Path) -> None:
        """Continue from a checkpoint.

        Raises
        ------
        TrainingError
            If the file is missing, damaged or of a run with other settings.
        """
        try:
            state = torch.load(path, weights_only=True, map_location=self.device)
            # What an earlier version did not know was as it is by default.
            saved = type(self.settings)().plain() | state["settings"]
        except FileNotFoundError as error:
            raise TrainingError(f"checkpoint not found: {path}") from error
        except Exception as error:  # damaged files raise almost anything in torch.load
            raise TrainingError(f"cannot read checkpoint {path}") from error
        current = self.settings.plain()
        changed = [name for name in current if saved.get(name) != current[name]]
        if changed:
            raise TrainingError(f"checkpoint has other settings: {', '.join(changed)}")
        try:
            for name, module in self.modules.items():
                module.load_state_dict(state["modules"][name])
                self.optimizers[name].load_state_dict(state["optimizers"][name])
            if isinstance(self.network, fxp.QatModel):
                self.network.requantize()
            average: dict[str, Tensor] = state["average"]
            self.average = {name: average[name].clone() for name in self.average}
            self.step, self.best = int(state["step"]), float(state["best"])
            torch.set_rng_state(state["random"].cpu())
            # A training that began on a GPU goes on without one, and the other way round.
            if "random_cuda" in state and torch.device(self.device).type == "cuda":
                torch.cuda.set_rng_state(state["random_cuda"].cpu(), self.device)
        except (RuntimeError, KeyError, ValueError, TypeError) as error:
            raise TrainingError(f"checkpoint does not fit the network: {path}") from error


def _check_same(start: nn.Module, wanted: nn.Module) -> None:
    """Raise `TrainingError` if a network to start from has other options than the run."""
    given, own = (dict(item.options()) for item in (start, wanted))  # type: ignore[operator]
    changed = [
        f"{name} is {given.get(name)}, not {own[name]}"
        for name in own
        if given.get(name) != own[name]
    ]
    if changed:
        raise TrainingError(f"the network to start from is another one: {', '.join(changed)}")
