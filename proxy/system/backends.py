"""Finds the module of a backend by the scheme of its URL, and shows such a URL."""

from __future__ import annotations

import importlib
import re
from types import ModuleType
from typing import Final

# A password reaches up to the last @, also one that was pasted in without percent-encoding.
_PASSWORD: Final = re.compile(r"^([^:/?#]+://[^:/?#@]*):.*@", re.DOTALL)
_IN_QUERY: Final = re.compile(r"([?&][^=&]*password=)[^&]*", re.IGNORECASE)


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


def masked(url: str) -> str:
    """The URL as people may see it, with `***` in the place of each password."""
    return _IN_QUERY.sub(r"\1***", _PASSWORD.sub(r"\1:***@", url))
