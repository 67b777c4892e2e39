"""Late import of heavy optional dependencies, so that running a saved model needs none of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

from fxp.support.distribution import install_advice


@contextmanager
def naming_extra(extra: str, package: str | None = None) -> Iterator[None]:
    """Say in the errors of imports within the block how what is missing is installed.

    Parameters
    ----------
    extra
        The extra of this package that installs it.
    package
        What must be missing; by default anything.

    Raises
    ------
    ModuleNotFoundError
        If an import fails; its message advises to install the extra.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if package is not None and (error.name or "").partition(".")[0] != package:
            raise
        raise ModuleNotFoundError(
            f"this needs {error.name}; install it with: {install_advice(extra)}", name=error.name
        ) from error


class _LazyModule(ModuleType):
    """Stands for a module until its first attribute is asked for."""

    def __init__(self, name: str, extra: str) -> None:
        super().__init__(name)
        self._extra = extra

    def __getattr__(self, attribute: str) -> Any:
        with naming_extra(self._extra):
            module = import_module(self.__name__)
        return getattr(module, attribute)


def lazy_import(name: str, extra: str) -> Any:
    """Return a stand-in for module `name`, which the extra `extra` of this package installs."""
    return _LazyModule(name, extra)
