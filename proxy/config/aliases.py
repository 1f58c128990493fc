"""The routes with `as`: names of models that callers use for others."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from proxy.config.settings import Settings
from proxy.core.model_names import matches
from proxy.core.pricing.pricelist import is_literal

MODEL_CHARS_MAX = 256  # as of a model that a request names


class Alias(msgspec.Struct, frozen=True):
    """Where a name leads, and what is sent there in its place."""

    upstream: str
    sent: str


def aliases_of(settings: Settings) -> dict[str, Alias]:
    """The aliases in effect, by the name that callers use.

    One that stands behind another route for the same name is never reached, and is left out.
    """
    found: dict[str, Alias] = {}
    for index, route in enumerate(settings.routes):
        if route.as_ is not None and not any(
            matches(earlier.model, route.model) for earlier in settings.routes[:index]
        ):
            found[route.model] = Alias(route.upstream, route.as_)
    return found


def sent_names(settings: Settings) -> dict[str, dict[str, str]]:
    """The name that each upstream is sent for an alias, in the order of names."""
    found: dict[str, dict[str, str]] = {}
    for name, alias in sorted(aliases_of(settings).items()):
        found.setdefault(alias.upstream, {})[name] = alias.sent
    return dict(sorted(found.items()))


def check(settings: Settings, problem: Callable[[str, str], None]) -> None:
    """Tells of each `as` that cannot be: behind a wildcard, or with one."""
    for index, route in enumerate(settings.routes):
        if route.as_ is None:
            continue
        place = f"routes[{index}].as"
        if not is_literal(route.model):
            problem(
                place,
                f"stands beside a wildcard ({route.model}), so any name that a caller makes up"
                " would be this model and be booked under that name; write one row for each name",
            )
        if len(route.as_) > MODEL_CHARS_MAX or set("*?,") & set(route.as_):
            problem(
                place,
                "is sent as it stands here, so it has to be one model's name: at most"
                f" {MODEL_CHARS_MAX} characters, no wildcard and no comma",
            )
        if route.as_ == route.model:
            problem(place, "is the name that it replaces; remove it")
