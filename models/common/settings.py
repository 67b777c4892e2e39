"""What determines a training run: one dataclass from which the command line is made as well."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import MISSING, asdict, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar, get_type_hints

import typer

from fxp.support.errors import FxpError


class TrainingError(FxpError, ValueError):
    """Training cannot start or go on; the message is one line."""


class Optimizer(StrEnum):
    """SOAP (Vyas et al., arXiv:2409.11321), Adam, or gradient descent with Nesterov's momentum."""

    SOAP = "soap"
    ADAM = "adam"
    SGD = "sgd"


class Precision(StrEnum):
    """Arithmetic of the forward and backward passes; weights are always float32."""

    BFLOAT16 = "bfloat16"
    FLOAT32 = "float32"


def option(
    default: Any, text: str = "", *, minimum: float | None = None, maximum: float | None = None
) -> Any:
    """Return a field of `TrainingSettings` that is an option of the command as well.

    Parameters
    ----------
    default
        Value if it is not given.
    text
        What the help of the command says.
    minimum, maximum
        Range that the command accepts, both ends included.
    """
    return field(default=default, metadata={"help": text, "min": minimum, "max": maximum})


@dataclass(frozen=True)
class TrainingSettings:
    """What all training runs have in common; a system derives its own fields from it.

    Attributes
    ----------
    module : str
        Class attribute: the module that ``python -m`` runs, see `command`.
    steps
        Optimizer steps of the whole run; sets the cosine schedule.
    epoch
        Steps between measurements and checkpoints.
    batch
        Items per step.
    rate
        Peak learning rate; the first 1 % of the steps ramp up to it.
    average
        Decay of the running average of the weights; 0 turns it off.
    finish
        Share of the steps, at the end, that the recipe is told to finish with: another loss.
    seed
        Seed of the initial weights and of the batches.
    optimizer, precision
        See there.
    compiled
        Whether torch.compile fuses the step.
    start
        Weights to start from, a name or a file; empty to start from scratch.
    weight_bits, activation_bits
        Train with the roundings of the fixed-point model of these widths; 0 for floating point.

    Raises
    ------
    TrainingError
        If the settings contradict each other.
    """

    module: ClassVar[str] = ""

    steps: int = option(50_000, "Optimizer steps in all.", minimum=1)
    epoch: int = option(1000, "Steps between measurements.", minimum=1)
    batch: int = option(16, "Items per step.", minimum=1)
    rate: float = option(0.04, "Peak learning rate.", minimum=0.0)
    average: float = option(
        0.999, "Decay of the weight average; 0 = off.", minimum=0.0, maximum=0.99999
    )
    finish: float = option(
        0.0, "Share of the steps, at the end, on the finishing loss.", minimum=0.0, maximum=1.0
    )
    seed: int = option(0, "Of the initial weights and the batches.", minimum=0, maximum=2**32 - 1)
    optimizer: Optimizer = option(Optimizer.SOAP, "Update rule.")
    precision: Precision = option(
        Precision.BFLOAT16, "Of forward and backward; weights stay float32."
    )
    compiled: bool = option(True, "Fuse the step with torch.compile.")
    start: str = option("", "Weights to start from: name or file.")
    weight_bits: int = option(
        0, "Train with fixed-point weights; 0 = float.", minimum=0, maximum=24
    )
    activation_bits: int = option(0, "And activations; 0 = float.", minimum=0, maximum=24)

    def __post_init__(self) -> None:
        if (self.weight_bits == 0) != (self.activation_bits == 0):
            raise TrainingError("give both --weight-bits and --activation-bits, or neither")
        if self.fixed and self.precision != Precision.FLOAT32:
            raise TrainingError("training with roundings needs --precision float32")

    @property
    def fixed(self) -> bool:
        """Whether the run trains with the roundings of a fixed-point model."""
        return self.weight_bits > 0

    def widths(self) -> dict[str, Any]:
        """Return the widths as arguments of `fxp.quantize`."""
        return {"weight_bits": self.weight_bits, "activation_bits": self.activation_bits}

    def plain(self) -> dict[str, Any]:
        """Return the fields by name, choices as text, so that files hold no types of ours."""
        return {
            name: str(value) if isinstance(value, StrEnum) else value
            for name, value in asdict(self).items()
        }

    def command(self) -> str:
        """Return the command line of this run, with placeholders for the paths."""
        default = type(self)().plain()
        own = [name for name in default if name not in TrainingSettings.__dataclass_fields__]
        words = [f"python -m {self.module} --data DIR --out FILE"]
        values = self.plain()
        for name in [*own, *(name for name in default if name not in own)]:
            value, switch = values[name], name.replace("_", "-")
            if isinstance(value, bool):
                if value != default[name]:
                    words.append(f"--{switch}" if value else f"--no-{switch}")
            elif value != default[name] or not isinstance(value, str):
                words.append(f"--{switch} {portable(value) if isinstance(value, str) else value}")
        return " ".join(words)

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step: linear warm-up, then cosine to zero."""
        warmup = max(1, self.steps // 100)
        progress = step / max(1, self.steps)
        cosine = 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
        return self.rate * min(1.0, (step + 1) / warmup) * cosine

    def finishing_at(self, step: int) -> bool:
        """Return whether a step is one of the last, on the finishing loss."""
        return step >= self.steps * (1.0 - self.finish)

    def decay_after(self, steps: int) -> float:
        """Return the decay of the running average after a number of steps.

        It follows closely at first, so that it forgets the initial weights.
        """
        return min(self.average, steps / (steps + 10)) if self.average else 0.0


def listed(names: str) -> list[str]:
    """Split names at their commas; a file whose own name has commas is one.

    Raises
    ------
    TrainingError
        If a name is empty.
    """
    if not names or Path(names).is_file():
        return [names] if names else []
    found = [name.strip() for name in names.split(",")]
    if "" in found:
        raise TrainingError(f"{names!r} has an empty name at a comma")
    return found


def portable(names: str) -> str:
    """Return names of files, as `listed`, without folders that are the machine's business."""
    paths = map(Path, listed(names))
    return ",".join(
        path.name if path.is_absolute() or ".." in path.parts else str(path) for path in paths
    )


Settings = TypeVar("Settings", bound=TrainingSettings)


def with_options(
    settings: type[Settings],
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for every field of its settings.

    Parameters
    ----------
    settings
        The class of settings.

    Returns
    -------
    callable
        Decorator of a function whose first parameter takes the settings. The result takes the
        other parameters and, before those with a default of their own, one option per field.
    """
    hints = get_type_hints(settings)
    options = [
        inspect.Parameter(
            item.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=item.default,
            annotation=Annotated[
                hints[item.name],
                typer.Option(
                    help=item.metadata.get("help") or None,
                    min=item.metadata.get("min"),
                    max=item.metadata.get("max"),
                ),
            ],
        )
        for item in fields(settings)
        if item.default is not MISSING
    ]

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        first, *others = inspect.signature(function, eval_str=True).parameters.values()
        names = [item.name for item in options]

        def command(**given: Any) -> None:
            values = {name: given.pop(name) for name in names}
            function(**{first.name: settings(**values)}, **given)

        keyword = [item.replace(kind=inspect.Parameter.KEYWORD_ONLY) for item in others]
        parameters = [*keyword, *options]
        command.__doc__, command.__name__ = function.__doc__, function.__name__
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {item.name: item.annotation for item in parameters}
        return command

    return decorate
