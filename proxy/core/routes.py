"""Which upstream serves a model: the first route whose glob matches. Nothing but the config and the model's name decides."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Iterable, Sequence

from proxy.core.errors import ProxyError

_NEAREST_MAX = 3


def matches(pattern: str, model: str) -> bool:
    """Whether a model name matches a glob of the config. Case counts, as it does for the vendors."""
    return fnmatch.fnmatchcase(model, pattern)


def match(model: str, routes: Iterable[tuple[str, str]]) -> str | None:
    """The upstream of the first route, a pair of glob and upstream, whose glob matches; or None."""
    for pattern, upstream in routes:
        if matches(pattern, model):
            return upstream
    return None


def nearest(model: str, names: Sequence[str]) -> list[str]:
    """Up to three of `names` (models known to the config or reported by upstreams) that the client may have meant."""
    lower = {name.lower(): name for name in names}
    return [lower[name] for name in difflib.get_close_matches(model.lower(), list(lower), n=_NEAREST_MAX, cutoff=0.6)]


def model_not_found(model: str, names: Sequence[str]) -> ProxyError:
    """404 for a model that no route names, with the nearest names that would work."""
    close = nearest(model, names)
    hint = f" Did you mean {' or '.join(close)}?" if close else " GET /v1/models lists what this key can use."
    return ProxyError(404, "invalid_request_error", "model_not_found", f"No route leads to the model {model!r}.{hint}", param="model")
