"""Late import of heavy optional dependencies, so that running a saved model needs none of them."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any

from fxp.support.distribution import install_advice


class _LazyModule(ModuleType):
    """Stands for a module until its first attribute is asked for."""

    def __init__(self, name: str, extra: str) -> None:
        super().__init__(name)
        self._extra = extra

    def __getattr__(self, attribute: str) -> Any:
        try:
            module = import_module(self.__name__)
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"this needs {error.name}; install it with: {install_advice(self._extra)}",
                name=error.name,
            ) from error
        return getattr(module, attribute)


def lazy_import(name: str, extra: str) -> Any:
    """Return a stand-in for module `name`, which the extra `extra` of this package installs."""
    return _LazyModule(name, extra)
