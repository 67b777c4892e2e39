"""``fxp compress``: weights to a compressed file and back, and models without idle channels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import fxp
from fxp.cli.console import JsonOption, note, print_json
from fxp.cli.networks import read_state
from fxp.cli.targets import check_ending, check_target
from fxp.compression.limits import CONVOLUTION_BITS, LINEAR_BITS, MAX_BITS, SUFFIX
from fxp.compression.zero_channels import remove_zero_channels
from fxp.support.errors import ArgumentError
from fxp.support.files import replace_file
from fxp.support.lazy import lazy_import
from fxp.support.text_table import text_table

if TYPE_CHECKING:
    import safetensors
    import safetensors.torch as safetensors_torch

    from fxp.compression import compressed_file, deep_compression
else:
    compressed_file = lazy_import("fxp.compression.compressed_file", "compression")
    deep_compression = lazy_import("fxp.compression.deep_compression", "compression")
    safetensors = lazy_import("safetensors", "compression")
    safetensors_torch = lazy_import("safetensors.torch", "compression")


def compress(
    source: Annotated[Path, typer.Argument(metavar="IN", help="What to compress or restore.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write.")],
    fraction: Annotated[
        float | None,
        typer.Option(help="Share of the weights that become zero, the smallest ones; default 0."),
    ] = None,
    convolution_bits: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MAX_BITS,
            help=f"Width of the codes of convolutions; default {CONVOLUTION_BITS}.",
        ),
    ] = None,
    linear_bits: Annotated[
        int | None,
        typer.Option(
            min=1, max=MAX_BITS, help=f"Width of the codes of linear layers; default {LINEAR_BITS}."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compress weights of a network (Deep Compression), or restore them.

    Weights, .safetensors or .pt, become a .fxpc file: the smallest ones are
    set to zero, the others share few values, and both are entropy coded. To
    keep the accuracy where most weights go, train between these steps, in
    Python; weights that are shared already are stored without loss by
    --fraction 0. A .fxpc file becomes .safetensors again, and is taken by
    fxp quantize --weights as it is.

    A .fxp model becomes a .fxp model without the channels that have no
    effect; its results stay the same integers.

    Example: fxp compress net.safetensors net.fxpc --fraction 0.9

    Example: fxp compress pruned.fxp smaller.fxp
    """
    check_ending(source, (".safetensors", ".pt", ".pth", SUFFIX, ".fxp"))
    wanted = {".fxp": ".fxp", SUFFIX: ".safetensors"}.get(source.suffix.lower(), SUFFIX)
    check_target(target, reads=[source], suffixes=(wanted,))
    settings = {
        "fraction": fraction,
        "convolution_bits": convolution_bits,
        "linear_bits": linear_bits,
    }
    given = {name: value for name, value in settings.items() if value is not None}
    if given and wanted != SUFFIX:
        option = f"--{next(iter(given))}".replace("_", "-")
        raise ArgumentError(
            f"{option} is of compressing weights, and {source} is restored or stripped without loss"
        )
    if wanted == ".fxp":
        _without_channels(source, target, as_json)
    elif wanted == ".safetensors":
        tensors, metadata = compressed_file.load_compressed(source)
        replace_file(target, safetensors_torch.save(tensors, metadata))
        if as_json:
            print_json({"file": target, "tensors": len(tensors)})
    else:
        weights = read_state(source)
        state = deep_compression.compressed_state(weights, **given)
        sizes = compressed_file.save_compressed(state, target, metadata=_metadata(source))
        # Weights of 16 bits are shared as float32, which is no gain.
        sizes = replace(sizes, original=compressed_file.bytes_of(weights))
        if as_json:
            print_json({"file": target, "ratio": sizes.ratio, "sizes": sizes})
        else:
            typer.echo(_table(sizes))
    note(f"wrote {target}")


def _without_channels(source: Path, target: Path, as_json: bool) -> None:
    model = fxp.load(source)
    smaller = remove_zero_channels(model)
    smaller.save(target)
    before, after = model.parameters, smaller.parameters
    if as_json:
        print_json({"file": target, "parameters_before": before, "parameters": after})
    else:
        typer.echo(f"{before} parameters before, {after} now, with the same results")


def _metadata(source: Path) -> dict[str, str]:
    if source.suffix.lower() != ".safetensors":
        return {}
    with safetensors.safe_open(source, framework="pt") as file:
        return dict(file.metadata() or {})


def _table(sizes: compressed_file.Sizes) -> str:
    rows = [
        (size.name, str(size.weights), f"{size.nonzero / size.weights:.1%}" if size.weights else "",
         str(size.codebook or ""), str(size.bytes))
        for size in sizes.tensors
    ]  # fmt: skip
    lines = text_table(("tensor", "weights", "not zero", "values", "bytes"), rows)
    lines.append(
        f"{sizes.original} bytes before, {sizes.compressed} now: {sizes.ratio:.1f} times smaller"
    )
    return "\n".join(lines)
