"""The networks that a user names on the command line, and their weights."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import traceback
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from pickle import UnpicklingError
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fxp.cli.console import note
from fxp.compression.limits import SUFFIX
from fxp.support.errors import ArgumentError
from fxp.support.lazy import lazy_import
from fxp.support.modules import source_file

if TYPE_CHECKING:
    import safetensors.torch as safetensors_torch
    import torch

    from fxp.compression import compressed_file
    from fxp.frontend import onnx as frontend_onnx
else:
    frontend_onnx = lazy_import("fxp.frontend.onnx", "onnx")
    compressed_file = lazy_import("fxp.compression.compressed_file", "torch")
    torch = lazy_import("torch", "torch")
    safetensors_torch = lazy_import("safetensors.torch", "models")

SourceArgument = Annotated[
    str,
    typer.Argument(
        help="package.module:name or file.py:name of a torch module, or of what returns one; "
        "or a .onnx file."
    ),
]
"""The network of commands that quantize."""
ArgOption = Annotated[
    list[str] | None, typer.Option(help="Argument of the network's name, as text; repeatable.")
]
"""The option ``--arg``."""
WeightsOption = Annotated[
    Path | None,
    typer.Option(help="State dict, .safetensors, .fxpc or .pt; also one within a checkpoint."),
]
"""The option ``--weights``."""

NESTED = (
    "params_ema",
    "state_dict_ema",
    "model_ema",
    "ema",
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "params",
)
"""Names under which checkpoints of training programs keep the state dict, best first.

Running averages of the weights come before the weights, as they give the better network.
"""
WRAPPERS = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile write before the name of every weight."""

_OBJECTS = ("GLOBAL", "Unsupported global", "unsupported class")
"""What PyTorch's messages say of a pickle that holds more than tensors."""
AGAIN = "copy or download it again, or save it again in the program that made it"
STATE_ALONE = (
    "Save the weights by themselves in the program that made it: "
    "torch.save(network.state_dict(), path)"
)


def load_network(
    source: str, arguments: Sequence[str] = (), weights: Path | None = None
) -> torch.nn.Module:
    """Return a network in eval mode.

    Parameters
    ----------
    source
        The path of an ONNX file, ``.onnx``; or
        ``package.module:name`` or ``folder/file.py:name``, where the name is a module or something
        that returns one. The package may lie in the working directory, unless one of that name is
        installed.
    arguments
        Text arguments of the call.
    weights
        State dict as ``.safetensors``, or as ``.pt`` without pickled code; it may stand in a
        checkpoint under one of the usual names.

    Raises
    ------
    ArgumentError
        If the source cannot be found or gives no torch module, or the weights do not fit.
    """
    if is_onnx(source):
        if arguments or weights is not None:
            raise ArgumentError(f"{source} holds its weights; leave --arg and --weights out")
        return frontend_onnx.load_onnx(source)
    home, separator, name = source.partition(":")
    if not separator or not home or not name:
        raise ArgumentError(
            f"{source!r} must be written as package.module:name or file.py:name, or be the path of "
            "a .onnx file"
        )
    code = _import(home)
    if not hasattr(code, name):
        file = getattr(code, "__file__", None)
        raise ArgumentError(f"{home!r} has no {name!r}" + (f"; it is {file}" if file else ""))
    found = getattr(code, name)
    if not isinstance(found, torch.nn.Module):
        if not callable(found):
            raise ArgumentError(f"{source} is a {type(found).__name__}, not a network")
        try:
            inspect.signature(found).bind(*arguments)
        except (TypeError, ValueError) as error:
            raise ArgumentError(f"{source} cannot be called so: {error}; see --arg") from None
        try:
            found = found(*arguments)
        except SystemExit as stop:
            raise ArgumentError(f"{source} ends the process: {_reason(stop)}") from stop
        except Exception as error:
            raise ArgumentError(f"{source} failed: {_reason(error)}") from error
    if not isinstance(found, torch.nn.Module):
        raise ArgumentError(f"{source} gives a {type(found).__name__}, not a torch.nn.Module")
    if weights is not None:
        _load_weights(found, read_state(weights), f"weights {weights} do not fit {source}")
    try:
        return found.eval()
    except NotImplementedError:
        # The module of an exported program has no modes, and none can be told from it.
        raise ArgumentError(
            f"{source} gives the module of an exported program; give the module that it was made "
            "from"
        ) from None


def files_of_network(
    source: str | None, arguments: Sequence[str] | None, weights: Path | None
) -> list[Path]:
    """Return the files that a network is read from, without importing anything.

    Parameters
    ----------
    source, arguments, weights
        As for `load_network`; None for what is not given.
    """
    if source is not None and is_onnx(source):
        return [Path(source)]
    home = "" if source is None else source.partition(":")[0]
    code = Path(home) if _is_script(home) else source_file(home, [os.getcwd()]) if home else None
    # An argument may be the name of a file, such as a checkpoint.
    named = [Path(text) for text in arguments or [] if os.path.isfile(text)]
    return [path for path in (code, weights, *named) if path is not None]


def is_onnx(source: str) -> bool:
    """Whether a source is the path of an ONNX file."""
    return source.lower().endswith(".onnx")


def _is_script(home: str) -> bool:
    """Whether a module is named by its file."""
    return home.lower().endswith(".py")


def _import(name: str) -> Any:
    """Import a module by the name or the file that a user gave, also from the working directory."""
    # A missing PyTorch says here how to install it.
    torch.nn.Module  # noqa: B018
    here = os.path.dirname(os.path.abspath(name)) if _is_script(name) else os.getcwd()
    if here not in sys.path:
        # The last place, so that no file beside the user's own stands in for an installed package.
        sys.path.append(here)
    try:
        return _run_script(Path(name)) if _is_script(name) else importlib.import_module(name)
    except SystemExit as stop:
        raise ArgumentError(f"importing {name!r} ends the process: {_reason(stop)}") from stop
    except Exception as error:
        # A user's own file may fail in any way, a syntax error included.
        raise ArgumentError(f"cannot import {name!r}: {_reason(error)}") from error


def _run_script(path: Path) -> ModuleType:
    """Import a file, whatever packages have its name."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    # Python's own way from a file to a module; classes look their module up under its name.
    name = path.stem if path.stem not in sys.modules else f"{path.stem} of {path.parent}"
    spec = spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _reason(error: BaseException) -> str:
    """Say what went wrong and in which line, for errors of the user's own code."""
    frames = traceback.extract_tb(error.__traceback__)
    told = isinstance(error, ModuleNotFoundError | ValueError | OSError | SyntaxError)
    where = "" if told else f" in {frames[-1].filename}, line {frames[-1].lineno}"
    return f"{type(error).__name__}{where}: {error}"


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """Read a state dict.

    Parameters
    ----------
    path
        ``.safetensors``, ``.fxpc``, or what ``torch.save`` wrote: the state dict itself, or a
        checkpoint that has it under one of the names `NESTED`.

    Returns
    -------
    dict
        Tensors by name, without what wrappers wrote before the names.

    Raises
    ------
    ArgumentError
        If the file is missing or damaged or holds no state dict; the message says how to save one.
    """
    if not path.is_file():
        raise ArgumentError(f"no weights file {path}")
    if path.stat().st_size == 0:
        raise ArgumentError(f"cannot read weights {path}: the file is empty; {AGAIN}")
    if path.suffix == SUFFIX:
        return compressed_file.load_compressed(path)[0]
    return _tensors(_safetensors(path) if path.suffix == ".safetensors" else _saved(path), path)


def _safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return safetensors_torch.load_file(path)
    except ModuleNotFoundError:
        raise
    except Exception as error:
        # The reader raises many unrelated types for a damaged file.
        raise ArgumentError(
            f"cannot read weights {path}: it is damaged, or no safetensors file; {AGAIN}"
        ) from error


def _saved(path: Path) -> Any:
    """Read what ``torch.save`` wrote: an archive, or in old versions a pickle."""
    with path.open("rb") as file:
        start = file.read(2)
    # A pickle begins with 128 and the version of its protocol, a small number.
    known = start[:1] == b"\x80" and start[1:] < b"\x06"
    if start == b"PK":
        try:
            with zipfile.ZipFile(path) as archive:
                names = {Path(name).name for name in archive.namelist()}
        except zipfile.BadZipFile as error:
            raise ArgumentError(
                f"cannot read weights {path}: it is damaged or cut short; {AGAIN}"
            ) from error
        if "constants.pkl" in names:
            raise ArgumentError(
                f"{path} is a TorchScript archive, which holds a whole program. {STATE_ALONE}"
            )
        known = "data.pkl" in names
    if not known:
        raise ArgumentError(
            f"cannot read weights {path}: torch.save did not write this file; give one that it "
            "wrote, or a .safetensors file"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        if any(
            word in str(error) for word in ("GLOBAL", "Unsupported global", "unsupported class")
        ):
            raise ArgumentError(
                f"{path} holds Python objects, such as a whole network or the settings of a "
                f"training, and not tensors alone; they could run any code. {STATE_ALONE}"
            ) from error
        raise ArgumentError(f"cannot read weights {path}: it is damaged; {AGAIN}") from error
    except Exception as error:
        # The reader raises many unrelated types for a damaged file.
        raise ArgumentError(
            f"cannot read weights {path}: it is damaged or cut short; {AGAIN}"
        ) from error


def _tensors(state: Any, path: Path) -> dict[str, torch.Tensor]:
    if not isinstance(state, Mapping):
        raise ArgumentError(f"{path} holds a {type(state).__name__}, not a state dict of tensors")
    if not state:
        raise ArgumentError(f"{path} holds an empty dict, and no weights. {STATE_ALONE}")
    found = _state_dicts(state)
    if not found:
        keys = ", ".join(repr(key) for key in list(state)[:8])
        raise ArgumentError(
            f"{path} holds no state dict: its keys are {keys}; one is looked for under "
            f"{', '.join(NESTED)}"
        )
    taken, *others = found
    if others:
        note(f"{path} holds weights under {', '.join(found)}; those under {taken} are taken")
    named = dict(found[taken])
    for wrapper in WRAPPERS:
        if named and all(name.startswith(wrapper) for name in named):
            named = {name.removeprefix(wrapper): tensor for name, tensor in named.items()}
    return named


def _state_dicts(state: Mapping[Any, Any], place: str = "") -> dict[str, Mapping[str, Any]]:
    """Return the state dicts of a checkpoint by the names that lead to them, best first."""
    if _is_state(state):
        return {place: state}
    found: dict[str, Mapping[str, Any]] = {}
    for name in NESTED:
        inner = state.get(name)
        if isinstance(inner, Mapping):
            found |= _state_dicts(inner, f"{place}.{name}" if place else name)
    return found


def _is_state(state: Mapping[Any, Any]) -> bool:
    return bool(state) and all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in state.items()
    )


def _load_weights(
    network: torch.nn.Module, state: Mapping[str, torch.Tensor], refusal: str
) -> None:
    """Load a state dict; an error says in one line what does not fit."""
    expected = network.state_dict()
    faults = [
        f"{what} {names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")
        for what, names in (
            ("they lack", [name for name in expected if name not in state]),
            ("the network has no", [name for name in state if name not in expected]),
        )
        if names
    ]
    shapes = {name: (tuple(state[name].shape), tuple(own.shape)) for name, own in expected.items()
              if name in state and isinstance(own, torch.Tensor)}  # fmt: skip
    other = [name for name, (given, wanted) in shapes.items() if given != wanted]
    if other:
        given, wanted = shapes[other[0]]
        faults.append(f"{other[0]} has shape {given}, not {wanted}")
    if faults:
        raise ArgumentError(f"{refusal}: {'; '.join(faults)}")
    try:
        network.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ArgumentError(f"{refusal}: {error}") from error
