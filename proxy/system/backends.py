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


def masked(url: str, mask: str = "***") -> str:
    """The URL as people may see it, with the mask in the place of each password."""
    shown = _PASSWORD.sub(lambda found: f"{found[1]}:{mask}@", url)
    return _IN_QUERY.sub(lambda found: f"{found[1]}{mask}", shown)
