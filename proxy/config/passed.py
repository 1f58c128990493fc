"""Finds mistakes in `passthrough`.

Paths that are served already, that would be free by accident, or that nobody could use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from proxy.config.price_terms import price_book_of
from proxy.config.prices import table_of
from proxy.config.settings import Passthrough, Settings
from proxy.core.dialects.registry import BY_ENDPOINT
from proxy.core.http.passed_paths import PathPattern, read_pattern, segments
from proxy.core.model_names import MODELS
from proxy.core.spelling import nearest

# What generates, so that the vendor bills it. Batches and fine-tuning are billed later.
GENERATING = (
    *("/chat", "/completions", "/responses", "/messages", "/embeddings", "/embed", "/rerank"),
    *("/audio", "/images", "/videos", "/edits", "/ocr", "/realtime"),
)
_LATER = ("/batches", "/fine_tuning", "/messages/batches", "/batch/jobs")
_VERSIONS = ("/v1", "/v2", "/v3", "")
_CHANGES = frozenset({"POST", "PUT", "PATCH"})
Problem = Callable[[str, str], None]


def check(settings: Settings, problem: Problem) -> None:
    """Tells `problem` of each mistake, with the path of the setting."""
    for index, entry in enumerate(settings.passthrough):
        path = f"passthrough[{index}]"
        pattern = read_pattern(entry.path)
        if pattern is None:
            if entry.path.startswith("/"):  # else the reader has said so
                problem(
                    f"{path}.path",
                    "expected whole segments of plain characters, such as /v1/files or /v1/files*",
                )
            continue
        own = _own(settings, pattern)
        if own is not None:
            problem(
                f"{path}.path", f"covers {own}, which the proxy serves itself; name the paths below"
            )
        if entry.charge == "free" and _CHANGES & set(entry.methods) and _among(pattern, GENERATING):
            problem(
                f"{path}.charge",
                "is free on a path that generates, which the vendor bills; write metered, or"
                " per_request with a price",
            )
        _names(settings, entry, path, problem)
        if entry.charge == "per_request" and not _has_fee(settings, entry, pattern):
            problem(
                f"{path}.charge",
                f"is per_request, and no price says what one costs; add to `prices` {{model:"
                f' "{pattern.name}", upstream: {entry.upstream}, input: "0", output: "0",'
                f' request: "0.01"}}',
            )


def warnings(settings: Settings) -> Iterator[str]:
    """Tells of paths whose bill comes later than their answer."""
    for index, entry in enumerate(settings.passthrough):
        pattern = read_pattern(entry.path)
        if pattern is None or not _CHANGES & set(entry.methods) or not _among(pattern, _LATER):
            continue
        yield (
            f"passthrough[{index}] ({entry.path}): the vendor bills this later, by what it did; it"
            " is booked only once its owner asks for a batch that states its usage"
        )


def _own(settings: Settings, pattern: PathPattern) -> str | None:
    """The first path of the proxy's own that the pattern covers."""
    pages: tuple[str, ...] = ("/ui", "/ui/x") if settings.pages.team else ()
    for path in (*BY_ENDPOINT, MODELS, f"{MODELS}/x", "/v1/usage", "/v1/usage/records/x", *pages):
        parts = segments(path)
        if parts is not None and pattern.rest(parts) is not None:
            return path.removesuffix("/x")
    return None


def _among(pattern: PathPattern, paths: tuple[str, ...]) -> bool:
    """Whether something that the pattern covers is one of these paths or stands below it."""
    for version in _VERSIONS:
        for path in paths:
            parts = tuple((version + path).strip("/").split("/"))
            shared = min(len(parts), len(pattern.parts))
            if parts[:shared] == pattern.parts[:shared] and (
                len(pattern.parts) >= len(parts) or pattern.below
            ):
                return True
    return False


def _names(settings: Settings, entry: Passthrough, path: str, problem: Problem) -> None:
    for kind, names, known in (
        ("teams", entry.teams, settings.teams),
        ("keys", entry.keys, settings.keys),
    ):
        for at, name in enumerate(names):
            if name not in known:
                close = nearest(name, known)
                more = f"the nearest known one is {close}" if close else f"add it under {kind}"
                problem(f"{path}.{kind}[{at}]", f"there is no {kind[:-1]} {name!r}; {more}")


def _has_fee(settings: Settings, entry: Passthrough, pattern: PathPattern) -> bool:
    book = price_book_of(settings, table_of(settings))
    return book.has_fee(entry.upstream, pattern.name)
