"""Compiled kernels on disk: safe with any folder, any damage, and any number of processes.

Numba keeps an index beside the compiled code, which two processes can write at once so that a name
stands for the other's code, and a damaged or full disk ends the program. Here every kernel has a
file of its own, which tells by a checksum whether it is whole and for what it was compiled. Where a
file cannot be read, the kernel is compiled; where it cannot be written, it is used from memory.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import warnings
from collections.abc import Callable
from errno import EISDIR
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import FunctionCache
from numba.core.serialize import dumps

from fxp.support.files import replace_file

_DIGEST_BYTES = hashlib.sha256().digest_size


class KernelCacheWarning(UserWarning):
    """Compiled kernels cannot be kept, so that every process compiles them again."""


def kernel_cache(function: Callable[..., Any]) -> KernelCache | None:
    """Return the cache of a function's compiled code; None, with a warning, if there is no place.

    The place is the folder ``__pycache__`` beside the function's file, else one in the user's own
    cache folder; or what the variable ``NUMBA_CACHE_DIR`` names.
    """
    try:
        return KernelCache(function)
    except (RuntimeError, OSError):
        folder = Path(function.__code__.co_filename).parent / "__pycache__"
        _warn(folder, "neither it nor the user's cache folder can be written")
        return None


class KernelCache(FunctionCache):
    """Numba's cache of one function, with `_KernelFiles` in place of its index."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        implementation: Any = self._impl  # type: ignore[reportPrivateUsage]
        self._cache_file = _KernelFiles(
            Path(self.cache_path),
            implementation.filename_base,
            (numba.__version__, implementation.locator.get_source_stamp()),
        )

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compiled code for a signature, or None."""
        try:
            return super().load_overload(sig, target_context)
        except Exception:
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep the compiled code for a signature, if there is room."""
        try:
            super().save_overload(sig, data)
        except OSError as error:
            _warn(Path(self.cache_path), error.strerror or str(error))


class _KernelFiles:
    """Files of one function, one for each key; takes the place of Numba's index and data files."""

    def __init__(self, folder: Path, base: str, stamp: object) -> None:
        self._folder, self._base, self._stamp = folder, base, stamp
        self._tidy = False

    def load(self, key: object) -> Any:
        """Return what was saved for a key; None if that is missing, damaged or out of date."""
        stamp, found, data = self._content(self._path(key))
        return data if (stamp, found) == (self._stamp, key) else None

    def save(self, key: object, data: object) -> None:
        """Save data for a key; another process sees the old file or the new one."""
        body = dumps((self._stamp, key, data))
        path = self._path(key)
        if path.is_dir():
            raise IsADirectoryError(EISDIR, f"{path.name} is a folder, which must be removed")
        replace_file(path, hashlib.sha256(body).digest() + body)
        if self._tidy:
            return
        for path in self._folder.glob(f"{self._base}.*.kernel"):
            if path.is_file() and self._content(path)[0] != self._stamp:
                # Of an earlier version of the source, or damaged.
                path.unlink(missing_ok=True)
        self._tidy = True

    @staticmethod
    def _content(path: Path) -> tuple[Any, Any, Any]:
        try:
            content = path.read_bytes()
        except OSError:
            return None, None, None
        digest, body = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if hashlib.sha256(body).digest() != digest:
            return None, None, None
        return pickle.loads(body)

    def flush(self) -> None:
        """Forget everything that was saved."""
        for path in self._folder.glob(f"{self._base}.*.kernel"):
            path.unlink(missing_ok=True)

    def _path(self, key: object) -> Path:
        name = hashlib.sha256(repr(key).encode()).hexdigest()[:20]
        return self._folder / f"{self._base}.{name}.kernel"


@cache
def _warn(folder: Path, reason: str) -> None:
    """Warn once for all kernels."""
    warnings.warn(
        f"compiled kernels cannot be kept in {os.fspath(folder)}: {reason}. Every process compiles "
        "them again, which takes seconds; make the folder writable, or name another one in the "
        "environment variable NUMBA_CACHE_DIR",
        KernelCacheWarning,
        stacklevel=3,
    )
