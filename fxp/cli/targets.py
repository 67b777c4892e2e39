"""Whether a command may write an output: the one place that all commands ask, before their work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from fxp.imaging.files import ImageError, image_paths
from fxp.support.errors import ArgumentError


def check_target(
    path: Path,
    *,
    reads: Iterable[Path] = (),
    suffixes: Collection[str] = (),
    makes_folder: bool = False,
) -> None:
    """Refuse a file to write that cannot be meant, before the work rather than after it.

    Parameters
    ----------
    path
        The file to write.
    reads
        Files that the command reads, and folders of images. What does not exist is passed over.
    suffixes
        Endings that the name may have; any if left out.
    makes_folder
        Whether the command makes the folder of the file, where it is missing.

    Raises
    ------
    ArgumentError
        If the file is one of those that are read, also by another spelling of its path or by a
        link, or has another ending.
    OSError
        If no file can be written there.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, so no file can be written there")
    check_ending(path, suffixes)
    if not makes_folder and not path.parent.is_dir():
        raise FileNotFoundError(f"no folder {path.parent} to write {path.name} to")
    _check_unread(path, _identities(reads))


def _check_unread(path: Path, read: Mapping[tuple[int, int], Path]) -> None:
    """Refuse a file that cannot be written, or is one of those that are read."""
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, so no file can be written there")
    if not path.exists():
        return
    if not path.is_file():
        raise OSError(f"{path} is no ordinary file, so it is not replaced")
    file = read.get(_identity(path))
    if file is not None:
        other = "" if str(file) == str(path) else f", which is {file},"
        raise ArgumentError(f"{path}{other} is read; give another name to write to")


def _identities(reads: Iterable[Path]) -> dict[tuple[int, int], Path]:
    """Return the files that are read, by what tells a file from all others, also through links."""
    files = (
        file
        for source in reads
        for file in (image_paths(source) if source.is_dir() else [source])
        if file.exists()
    )
    return {_identity(file): file for file in files}


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def check_ending(path: Path, suffixes: Collection[str]) -> None:
    """Raise `ArgumentError` unless a name has one of the endings, or there are none to have."""
    if suffixes and path.suffix.lower() not in suffixes:
        *first, last = sorted(suffixes)
        listed = f"{', '.join(first)} or {last}" if first else last
        raise ArgumentError(f"{path} must end in {listed}")


def check_folder_target(folder: Path, *, reads: Iterable[Path] = ()) -> None:
    """Refuse a folder to write that holds, or is in the way of, something that is read.

    Parameters
    ----------
    folder
        The folder to write or replace.
    reads
        Files that the command reads.

    Raises
    ------
    ArgumentError
        If one of the files lies in the folder.
    OSError
        If the folder cannot be made.
    """
    if not folder.absolute().parent.is_dir():
        raise FileNotFoundError(f"no folder {folder.parent} to write {folder.name} to")
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file, and a folder would be written there")
    for source in reads:
        if source.exists() and source.resolve().is_relative_to(folder.resolve()):
            raise ArgumentError(f"{source}, which is read, lies in {folder}; give another folder")


def folder_targets(sources: list[Path], folder: Path, *, reads: Iterable[Path] = ()) -> list[Path]:
    """Name the result of every image of a folder, a PNG, and make the folder of the results.

    Parameters
    ----------
    sources
        The images.
    folder
        Where the results go.
    reads
        What else the command reads.

    Raises
    ------
    ImageError
        If the results would replace the images, or each other, or the folder is a file.
    ArgumentError, OSError
        As `check_target`, for one of the results.
    """
    if folder.exists() and not folder.is_dir():
        raise ImageError(f"the source is a folder, so {folder} must be one")
    if folder.exists() and folder.samefile(sources[0].parent):
        raise ImageError(f"the results in {folder} would overwrite the images; give another folder")
    targets = [folder / f"{item.stem}.png" for item in sources]
    for name, count in Counter(targets).items():
        if count > 1:
            raise ImageError(f"{count} images of {sources[0].parent} would be written to {name}")
    read = _identities([*reads, *sources])
    for target in targets:
        _check_unread(target, read)
    folder.mkdir(parents=True, exist_ok=True)
    return targets
