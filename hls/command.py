"""``fxp export``: hardware projects from a .fxp file."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import fxp
from fxp import hls

export = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Write a hardware project of a model."
)


class BackendChoice(StrEnum):
    """Backends of hls4ml."""

    VITIS = "Vitis"
    VIVADO = "Vivado"
    CATAPULT = "Catapult"
    QUARTUS = "Quartus"


class IoChoice(StrEnum):
    """How values pass between layers."""

    STREAM = "io_stream"
    PARALLEL = "io_parallel"


class StrategyChoice(StrEnum):
    """How hls4ml computes products."""

    LATENCY = "latency"
    RESOURCE = "resource"
    RESOURCE_UNROLLED = "resource_unrolled"
    DISTRIBUTED_ARITHMETIC = "distributed_arithmetic"


@export.callback()
def group() -> None:
    """Write a hardware project of a model."""


@export.command("hls4ml")
def hls4ml(
    model: Annotated[Path, typer.Argument(help="The .fxp file.")],
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    height: Annotated[int | None, typer.Option(min=1, help="Of the input, 32 if free.")] = None,
    width: Annotated[int | None, typer.Option(min=1, help="Of the input, 32 if free.")] = None,
    backend: Annotated[BackendChoice, typer.Option(help="Backend of hls4ml.")] = (
        BackendChoice.VITIS
    ),
    io_type: Annotated[IoChoice, typer.Option(help="Streams or arrays.")] = IoChoice.STREAM,
    part: Annotated[str | None, typer.Option(help="Device.")] = None,
    clock_period: Annotated[float, typer.Option(min=0.1, help="In ns.")] = 5,
    reuse_factor: Annotated[int, typer.Option(min=1, help="Products per multiplier.")] = 1,
    strategy: Annotated[StrategyChoice, typer.Option(help="How products are computed.")] = (
        StrategyChoice.LATENCY
    ),
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier project.")
    ] = False,
    verify: Annotated[
        bool, typer.Option(help="Compare the C simulation with the engine, layer by layer.")
    ] = True,
) -> None:
    """Write an hls4ml project whose C simulation equals the engine.

    Example: fxp export hls4ml kimsr.fxp project --height 64 --width 64
    """
    loaded = fxp.load(model)
    with _orderly_end(), Console(stderr=True).status("hls4ml writes the project") as status:
        project = hls.export(
            loaded,
            out,
            size=None if height is width is None else (height or 32, width or 32),
            backend=backend.value,
            io_type=io_type.value,
            part=part,
            clock_period=clock_period,
            reuse_factor=reuse_factor,
            strategy=strategy.value,
            overwrite=overwrite,
            verify=verify,
            progress=lambda what, seconds: status.update(f"{what}, {seconds:.0f} s"),
        )
    typer.echo(f"wrote {project.folder}, {_verdict(project)}")


def _verdict(project: hls.HlsProject) -> str:
    verified = project.notes["verified"]
    if verified is None:
        return "unverified"
    if all(list(project.shapes[name]) == shape for name, shape in verified.items()):
        return "equal to the engine"
    _, height, width = next(iter(verified.values()))
    return f"whose twin of {height}×{width} pixels is equal to the engine"


@contextmanager
def _orderly_end() -> Iterator[None]:
    """End like an error when the process is told to end, so that nothing is left behind."""

    def end(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    earlier = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    ended = [number for number, how in earlier.items() if how == signal.SIG_DFL]
    for number in ended:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in ended:
            signal.signal(number, signal.SIG_DFL)
