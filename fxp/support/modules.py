"""Where Python modules lie, without importing them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path


def source_file(name: str, folders: Sequence[str] = ()) -> Path | None:
    """Return the file that a module would be imported from; no package around it is imported.

    Parameters
    ----------
    name
        Full name of the module.
    folders
        Where to look for its first part after the places where Python looks.

    Returns
    -------
    pathlib.Path or None
        The file; None if there is no such module, or it has no file.
    """
    top, *rest = name.split(".")
    try:
        spec = find_spec(top) or PathFinder.find_spec(top, list(folders))
    except (ImportError, ValueError):
        return None
    path = top
    for part in rest:
        path = f"{path}.{part}"
        places = spec.submodule_search_locations if spec is not None else None
        spec = PathFinder.find_spec(path, list(places)) if places is not None else None
    if spec is None or spec.origin is None or not spec.has_location:
        return None
    return Path(spec.origin)
