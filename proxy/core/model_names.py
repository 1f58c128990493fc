"""The names of models: which upstream serves one, which are alike, which are others.

A route is the first whose glob matches. Nothing but the config and the model's name decides.
"""

from __future__ import annotations

import difflib
import fnmatch
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import unquote

from proxy.core.errors import ProxyError

MODELS = "/v1/models"
_NEAREST_MAX = 3
# What a keyboard's hyphen is turned into by word processors and web pages.
_HYPHENS = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe63\uff0d"), "-")
_PREFIX = "models/"  # Gemini's way to name a model, which its API takes with and without
_NAME_IN_PATH = re.compile(r"[A-Za-z0-9._~:@+/-]+")
_EDITION = re.compile(
    r"(?:[-@:._](?:latest|preview|exp|stable"
    r"|\d{4}-\d{2}-\d{2}|\d{2}-\d{2}|\d{2}-\d{4}|\d{3,8}|v\d+(?:[.:]\d+)?))+$"
)


def matches(pattern: str, model: str) -> bool:
    """Whether a model name matches a glob of the config, letter for letter.

    For what lets a request through.
    """
    return fnmatch.fnmatchcase(model, pattern)


def caseless(model: str) -> str:
    """A model's name as vendors that ignore letter case read it.

    Wide letters and the many hyphens become the usual ones.
    """
    if model.isascii():
        return model.casefold()
    return unicodedata.normalize("NFKC", model.translate(_HYPHENS)).casefold()


def matches_caseless(pattern: str, model: str) -> bool:
    """Whether a model name matches a glob in any letter case, with `models/` before it or without.

    For what limits or charges a request: some vendors ignore these, and being too wide evades
    nothing.
    """
    glob, name = caseless(pattern), caseless(model)
    return fnmatch.fnmatchcase(name, glob) or fnmatch.fnmatchcase(
        unprefixed(name), unprefixed(glob)
    )


def unprefixed(model: str) -> str:
    """A name, folded by `caseless`, without `models/` before it."""
    return model.removeprefix(_PREFIX)


def overlaps(one: str, other: str) -> bool:
    """Whether some name matches both globs, in any letter case, with `models/` or without.

    A set such as [ab] counts as any character.
    """
    first, second = (caseless(re.sub(r"\[[^\]]+\]", "?", glob)) for glob in (one, other))
    return _overlap(first, second) or _overlap(unprefixed(first), unprefixed(second))


def _overlap(first: str, second: str) -> bool:
    # reached[at]: the part of `first` read so far and `second[:at]` match a common text
    reached = [True] + [False] * len(second)
    for at, sign in enumerate(second):
        reached[at + 1] = reached[at] and sign == "*"
    for sign in first:
        before, reached = reached, [reached[0] and sign == "*"] + [False] * len(second)
        for at, facing in enumerate(second):
            if sign == "*":
                reached[at + 1] = before[at + 1] or reached[at]
            elif facing == "*":
                reached[at + 1] = reached[at] or before[at + 1]
            else:
                reached[at + 1] = before[at] and (sign == facing or "?" in (sign, facing))
    return reached[-1]


def sent_name(aliases: Mapping[str, Mapping[str, str]], upstream: str, model: str) -> str:
    """The name that an upstream is sent for a model that was asked for, which may be an alias."""
    names = aliases.get(upstream)
    return model if names is None else names.get(model, model)


def match(model: str, routes: Iterable[tuple[str, str]]) -> str | None:
    """The upstream of the first route, a pair of glob and upstream, whose glob matches; or None."""
    for pattern, upstream in routes:
        if matches(pattern, model):
            return upstream
    return None


def nearest(model: str, names: Sequence[str]) -> list[str]:
    """Up to three of `names` that the client may have meant."""
    lower = {name.lower(): name for name in names}
    return [
        lower[name]
        for name in difflib.get_close_matches(
            model.lower(), list(lower), n=_NEAREST_MAX, cutoff=0.6
        )
    ]


def model_not_found(model: str, names: Sequence[str]) -> ProxyError:
    """404 for a model that no route names, with the nearest names that would work."""
    close = nearest(model, names)
    hint = (
        f" Did you mean {' or '.join(close)}?"
        if close
        else " GET /v1/models lists what this key can use."
    )
    return ProxyError(
        404,
        "invalid_request_error",
        "model_not_found",
        f"No route leads to the model {model!r}.{hint}",
        param="model",
    )


def model_of_path(route: str) -> str | None:
    """The name in /v1/models/{name}; None if the route is not that.

    Its slashes may be bare or written %2F. It goes upstream as it came, with the operator's
    credential, and servers differ in what they decode before they look for dots. So it holds
    nothing that more than one decoding changes, and no segment that climbs.
    """
    encoded = route.removeprefix(f"{MODELS}/")
    name = unquote(encoded)
    if (
        encoded == route
        or _NAME_IN_PATH.fullmatch(name) is None
        or any(part in ("", ".", "..") for part in name.split("/"))
    ):
        return None
    return name


def substituted(requested: str, served: str) -> bool:
    """Whether `served` is another model than was asked for.

    gpt-4o-mini for gpt-4o is. The same model with a date, a version or a vendor's prefix is not:
    gpt-4o-2024-08-06, openai/gpt-4o.
    """
    return _without_edition(requested) != _without_edition(served)


def _without_edition(name: str) -> str:
    return _EDITION.sub("", name.lower().rpartition("/")[2])
