"""Text for the terminal: what an error says to the user of a command."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, metadata

from fxp.support.distribution import DISTRIBUTION, install_advice
from fxp.support.errors import FxpError

EXTRA_OF = {
    "PIL": "cli",
    "aedat": "events",
    "cocotb": "rtl",
    "cocotb_tools": "rtl",
    "h5py": "events",
    "hls4ml": "hls",
    "jinja2": "report",
    "joblib": "cli",
    "matplotlib": "report",
    "onnx": "onnx",
    "pytorch_optimizer": "models",
    "rich": "cli",
    "rosbags": "events",
    "safetensors": "models",
    "skimage": "cli",
    "torch": "torch",
    "typer": "cli",
    "z3": "synth",
}
"""The extra of this package that installs a module."""


class CommandError(FxpError):
    """A command cannot do what it was asked for."""


def printable(text: str) -> str:
    """Escape control characters, so that text from a file cannot steer the terminal."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def one_line(error: BaseException) -> str:
    """Return an error's message as one printable line, or its type if it has none."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        text = f"{error.filename}: {error.strerror}"
    elif isinstance(error, MemoryError):
        text = f"there is not enough memory: {text}" if text else "there is not enough memory"
    return printable(" ".join(text.split())) or type(error).__name__


def told(error: BaseException) -> str | None:
    """Return what a user is to read of an error, None if the error is a defect of the program."""
    if isinstance(error, FxpError | OSError | MemoryError):
        return one_line(error)
    if isinstance(error, ModuleNotFoundError):
        extra = EXTRA_OF.get((error.name or "").partition(".")[0])
        if extra is not None:
            return f"this needs {error.name}; install it with: {install_advice(extra)}"
    return None


def report_advice() -> str:
    """Say what to do about a defect of the program."""
    try:
        urls = metadata(DISTRIBUTION).get_all("Project-URL") or []
    except PackageNotFoundError:
        urls = []
    issues = [url.partition(",")[2].strip() for url in urls if url.lower().startswith("issues,")]
    where = f" at {issues[0]}" if issues else ""
    return (
        f"this is a defect of fxp: please report it{where}, with the lines above and the command "
        "as it was given"
    )


def in_options(text: str, options: Mapping[str, str]) -> str:
    """Rewrite a message that speaks of Python arguments for the command line.

    ``pass overwrite=True`` becomes ``pass --overwrite``, and ``max_width`` becomes
    ``--max-width``. Names of one word are only replaced together with a value, as they may be
    plain English; nothing in quotes is replaced, as it is the user's own.

    Parameters
    ----------
    text
        The message.
    options
        Options of the command by the name of the argument: ``{"max_width": "--max-width"}``.

    Returns
    -------
    str
        The message in the command's language.
    """
    for name, option in options.items():
        word = re.escape(name)
        text = _UNQUOTED.sub(
            lambda found, word=word, option=option: _renamed(found.group(), word, option), text
        )
    return text


_UNQUOTED = re.compile(r"(?:'[^']*'|\"[^\"]*\")|[^'\"]+|['\"]")


def _renamed(piece: str, word: str, option: str) -> str:
    if piece[0] in "'\"":
        return piece
    # Neither part of a path nor of a longer name.
    piece = re.sub(rf"(?<![\w./-]){word}=True\b", option, piece)
    piece = re.sub(rf"(?<![\w./-]){word}=(?!True|False)(?=[\w(])", f"{option} ", piece)
    if "_" in word:
        piece = re.sub(rf"(?<![\w./-]){word}(?![\w./-]*[\w/-])", option, piece)
    return piece


@contextmanager
def without_folder(folder: object, advice: str = "") -> Iterator[None]:
    """Take the name of a temporary folder out of the errors of a block.

    Parameters
    ----------
    folder
        The folder, which is gone when the message is read.
    advice
        What to do to keep its files; added if a message names one of them.

    Raises
    ------
    CommandError
        Instead of an error of the package or of the system that names the folder.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except (FxpError, OSError) as error:
        text = one_line(error)
        shown = text.replace(f"{folder}/", "").replace(str(folder), "a temporary folder")
        if shown == text:
            raise
        raise CommandError(f"{shown}; {advice}" if advice else shown) from error


@contextmanager
def held_warnings(*, keep_logs: bool = False) -> Iterator[list[str]]:
    """Hold back the warnings of a block, so that none stands before the line that matters.

    What libraries write to their logs, such as PyTorch its traces, is dropped, as the errors of
    this package say it in their own words.

    Parameters
    ----------
    keep_logs
        Whether logs are shown all the same.

    Yields
    ------
    list of str
        Each warning once, in one line.
    """
    held: list[str] = []

    def hold(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        line = f"{category.__name__}: {printable(' '.join(str(message).split()))}"
        if line not in held:
            held.append(line)

    earlier = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.showwarning = hold
        try:
            if not keep_logs:
                logging.disable(logging.CRITICAL)
            yield held
        finally:
            logging.disable(earlier)
