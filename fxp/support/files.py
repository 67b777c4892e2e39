"""Files and folders that are never half written."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import BinaryIO

from fxp.support.errors import ArgumentError


def replace_file(path: str | PathLike[str], content: bytes) -> None:
    """Write a file so that a reader sees the old or the new content, never a part.

    Raises
    ------
    OSError
        If it cannot be written; an earlier file is then intact and nothing is left beside it.
    """
    with replacing(path) as stream:
        stream.write(content)


@contextmanager
def replacing(path: str | PathLike[str]) -> Iterator[BinaryIO]:
    """Give a stream whose content becomes the file at the end of the ``with`` block.

    After any exception an earlier file is intact and nothing is left beside it.

    Raises
    ------
    OSError
        If the file cannot be written; a FileNotFoundError or NotADirectoryError names the folder
        that is missing, and what to do.
    """
    target = Path(path)
    prefix = f".{target.name}."
    temporary: str | None = None
    try:
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=prefix)
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp makes private files; these are to be as readable as any other file.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, target)
    except BaseException as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError) and Path(str(error.filename)).name.startswith(prefix):
            # The user knows the file that was to be written, not the one that was to become it.
            raise type(error)(error.errno, _reason(error, target.parent), str(target)) from error
        raise


@contextmanager
def replacing_folder(path: str | PathLike[str]) -> Iterator[Path]:
    """Give an empty folder that takes the place of another one at the end of the ``with`` block.

    Nothing of an earlier folder is left then. After any exception it is intact, and nothing is left
    beside it. The folder above is made if it is missing.

    Raises
    ------
    ArgumentError
        If it is, or holds, the current folder.
    OSError
        If the folder cannot be written.
    """
    target = Path(path).resolve()
    if Path.cwd().is_relative_to(target):
        raise ArgumentError(
            f"{path} is the current folder, or holds it, and is not replaced: name another folder"
        )
    if target.exists() and not target.is_dir():
        raise NotADirectoryError(f"{path} is not a folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{target.name}."
    try:
        beside = Path(tempfile.mkdtemp(dir=target.parent, prefix=prefix))
    except OSError as error:
        # The user knows the folder that was to be written, not the one that was to become it.
        raise type(error)(error.errno, error.strerror, str(path)) from error
    new, old = beside / "new", beside / "old"
    try:
        new.mkdir()
        yield new
        # What is there moves aside first, and back on failure.
        if target.exists():
            os.replace(target, old)
        try:
            os.replace(new, target)
        except BaseException:
            if old.exists():
                os.replace(old, target)
            raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _reason(error: OSError, folder: Path) -> str:
    """Why no file can be made in a folder, and what to do."""
    if isinstance(error, FileNotFoundError):
        return f"the folder '{folder}' does not exist; create it first, or name another one"
    if isinstance(error, NotADirectoryError):
        return f"'{folder}' is not a folder; name another one"
    return error.strerror or str(error)
