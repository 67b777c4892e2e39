"""Training loop of KimSR: optimizer steps, running average, measurements and checkpoints."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_optimizer import SOAP
from torch import Tensor, nn

import fxp
from fxp.models.sr.branches import add_branches
from fxp.models.sr.fixed import formats, quantize_network, refined
from fxp.models.sr.measure import by_fixed, by_network, pair_scores
from fxp.models.sr.networks import KimSR
from fxp.models.sr.patches import Batch, Pair, TrainingSet
from fxp.models.sr.settings import Loss, Optimizer, Precision, Settings, TrainingError
from fxp.support.files import replace_file

Pictures = list[NDArray[np.uint8]]

TRAINING_FOLDERS = ("T91", "BSD200")


@dataclass(frozen=True)
class Report:
    """Measurements at the end of an epoch.

    Attributes
    ----------
    step
        Steps done.
    loss
        Mean training loss of the epoch, image range [0, 1].
    held_out, test
        PSNR of the averaged weights in decibel; NaN without such images. Of the fixed-point model
        if the run trains one.
    improved
        The held-out PSNR is the best so far.
    seconds
        Duration of the epoch.
    """

    step: int
    loss: float
    held_out: float
    test: float
    improved: bool
    seconds: float


class Trainer:
    """Training state: network, running average, optimizer, best score.

    Parameters
    ----------
    settings
        The run.
    training
        Source of the patches.
    held_out, test
        Images that choose the weights, and that are measured only.
    start
        Network to start from; by default a new one.
    device
        Where to train: ``"cpu"`` or ``"cuda"``.
    """

    def __init__(
        self,
        settings: Settings,
        training: TrainingSet,
        held_out: Pictures,
        test: Pictures,
        *,
        start: KimSR | None = None,
        device: str = "cpu",
    ) -> None:
        self.settings, self.training, self.device = settings, training, device
        self.held_out, self.test = training.whole(held_out), training.whole(test)
        torch.manual_seed(settings.seed)
        self.model = KimSR(**settings.network())
        self._names = list(self.model.state_dict())
        if start is not None:
            _check_same(start, self.model)
            self.model.load_state_dict(start.state_dict())
        self.network = self._prepared().to(device)
        parameters = list(self.network.parameters())
        if settings.optimizer == Optimizer.SOAP:
            self.optimizer = SOAP(parameters, settings.rate, weight_decay=0.0)
        else:
            self.optimizer = torch.optim.Adam(parameters, settings.rate)
        self._loss = torch.compile(self._plain_loss) if settings.compiled else self._plain_loss
        self.average = {name: value.clone() for name, value in self.weights().items()}
        self.step = 0
        self.best = -math.inf

    def _prepared(self) -> nn.Module:
        """Return the module that trains."""
        settings = self.settings
        if settings.fixed:
            model = refined(self.model.eval(), **settings.widths())
            return fxp.prepare_qat(model, **formats(settings.scale), **settings.widths())
        if settings.branches:
            add_branches(self.model)
        self.model.merge()
        return self.model.train()

    def weights(self) -> dict[str, Tensor]:
        """Return the present weights of the plain network; branches are summed up."""
        return {name: attrgetter(name)(self.network).detach() for name in self._names}

    def _plain_loss(self, low: Tensor, high: Tensor, mask: Tensor, squared: bool) -> Tensor:
        reduced = self.settings.precision == Precision.BFLOAT16
        with torch.autocast(low.device.type, torch.bfloat16, enabled=reduced):
            difference = self.network(low) - high
        error = difference.square() if squared else difference.abs()
        return (error * mask).sum() / mask.sum()

    def _tensors(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        low, high, mask = (
            torch.from_numpy(array).to(self.device) for array in (batch.low, batch.high, batch.mask)
        )
        if self.settings.fixed:
            # The fixed-point model takes 8-bit codes in steps of 1/256.
            low, high = low * (255 / 256), high * (255 / 256)
        return low.contiguous(memory_format=torch.channels_last), high, mask

    def _train_step(self) -> float:
        """Do one step and return its loss; raises `TrainingError` if that is not finite."""
        settings = self.settings
        for group in self.optimizer.param_groups:
            group["lr"] = settings.rate_at(self.step)
        tensors = self._tensors(self.training.batch(self.step, settings.batch))
        # The roundings of a fixed-point model need all bits of float32.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=not settings.fixed):
            loss = self._loss(*tensors, settings.loss_at(self.step) == Loss.MSE)
            value = loss.item()
            if not math.isfinite(value):
                raise TrainingError(f"loss is not finite after step {self.step}; lower --rate")
            self.optimizer.zero_grad()
            loss.backward()
        self.optimizer.step()
        self.step += 1
        # The average follows closely at first, so that it forgets the initial weights.
        decay = min(settings.average, self.step / (self.step + 10)) if settings.average else 0.0
        for name, weight in self.weights().items():
            self.average[name].lerp_(weight, 1.0 - decay)
        return value

    def averaged(self) -> KimSR:
        """Return the plain network with the averaged weights, on the CPU in eval mode."""
        model = KimSR(**self.settings.network())
        model.load_state_dict(self.average)
        return model.eval()

    def measure(self, pairs: Sequence[Pair]) -> float:
        """Return the mean PSNR of the averaged weights in decibel; NaN without images."""
        if not pairs:
            return math.nan
        model = self.averaged()
        if self.settings.fixed:
            enlarge = by_fixed(quantize_network(model, **self.settings.widths()))
        else:
            enlarge = by_network(model)
        return pair_scores(pairs, enlarge, self.settings.scale).psnr

    def run_epoch(self, advance: Callable[[], None] = lambda: None) -> Report:
        """Train to the next multiple of the epoch length or the end, then measure.

        Parameters
        ----------
        advance
            Called after every step, to move a progress bar.

        Raises
        ------
        TrainingError
            If the loss is no longer finite.
        """
        started = time.monotonic()
        settings = self.settings
        end = min(settings.steps, (self.step // settings.epoch + 1) * settings.epoch)
        losses = []
        while self.step < end:
            losses.append(self._train_step())
            advance()
        mean = float(np.mean(losses)) if losses else math.nan
        if isinstance(self.network, fxp.QatModel):
            # The formats follow the weights, and are those that the final conversion will choose.
            self.network.requantize()
        held_out, test = self.measure(self.held_out), self.measure(self.test)
        improved = held_out > self.best
        self.best = max(self.best, held_out)
        return Report(self.step, mean, held_out, test, improved, time.monotonic() - started)

    def checkpoint(self) -> dict[str, Any]:
        """Return the state that `restore` needs to continue bit for bit."""
        return {
            "settings": asdict(self.settings),
            "network": self.network.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "best": self.best,
        }

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
            saved = state["settings"]
        except FileNotFoundError as error:
            raise TrainingError(f"checkpoint not found: {path}") from error
        except Exception as error:  # damaged files raise almost anything in torch.load
            raise TrainingError(f"cannot read checkpoint {path}") from error
        current = asdict(self.settings)
        changed = [name for name in current if saved.get(name) != current[name]]
        if changed:
            raise TrainingError(f"checkpoint has other settings: {', '.join(changed)}")
        try:
            self.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            if isinstance(self.network, fxp.QatModel):
                self.network.requantize()
            average: dict[str, Tensor] = state["average"]
            self.average = {name: average[name].clone() for name in self.average}
            self.step, self.best = int(state["step"]), float(state["best"])
        except (RuntimeError, KeyError, ValueError, TypeError) as error:
            raise TrainingError(f"checkpoint does not fit the network: {path}") from error

    def metadata(self, report: Report) -> dict[str, str]:
        """Return the provenance stored with the weights."""
        entries = {
            "training_command": self.settings.command(),
            "training_images": " + ".join(TRAINING_FOLDERS),
            "degradation": self.settings.images,
            "step": str(report.step),
            "held_out_psnr": f"{report.held_out:.4f}",
            "torch": str(torch.__version__),
        }
        if math.isfinite(report.test):
            entries["set5_psnr"] = f"{report.test:.4f}"
        return entries


def _check_same(start: KimSR, wanted: KimSR) -> None:
    """Raise `TrainingError` if a network to start from has other options than the run."""
    given, own = dict(start.options()), dict(wanted.options())
    changed = [
        f"{name} is {given[name]}, not {own[name]}" for name in own if given[name] != own[name]
    ]
    if changed:
        raise TrainingError(f"the network to start from is another one: {', '.join(changed)}")
