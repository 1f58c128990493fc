"""Finds the module of a backend by the scheme of its URL."""

from __future__ import annotations

import importlib
from types import ModuleType


def backend(package: str, url: str, opener: str) -> ModuleType | None:
    """The module of `package` named like the URL's scheme: `memory:` is `package.memory`.

    None if there is none, or if it has no function `opener`.
    """
    scheme = url.partition(":")[0]
    if not scheme.isidentifier():
        return None
    name = f"{package}.{scheme}"
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise  # a module that the backend itself needs is missing
        return None
    return module if hasattr(module, opener) else None
