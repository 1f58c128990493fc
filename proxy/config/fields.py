"""The vocabulary that config keys are declared with: descriptions, kinds of text, bounds."""

from __future__ import annotations

from typing import Annotated

import msgspec

# The longest duration accepted: beyond it timers overflow on some systems.
YEARS_10_S = 3_660 * 86_400
EXBIBYTE = 2**60
NAMES_ALIKE = 0.5  # of names that people choose: one that is less like it is a guess


def yaml_name(name: str) -> str:
    """The key in config.yaml of a field: its name without the unit.

    The underscore that keeps a name apart from a keyword goes too.
    """
    for suffix in ("_s", "_bytes", "_"):
        if name.endswith(suffix):
            return name[: -len(suffix)]
    return name


class Block(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=yaml_name
):
    """A mapping of config.yaml."""


def about(
    description: str,
    kind: str | None = None,
    *,
    above: int | None = None,
    at_least: int | None = None,
    at_most: int | None = None,
) -> msgspec.Meta:
    """Documents a key and bounds its value.

    `kind` names how its text is read (see `proxy.config.values`).
    """
    bounds = {"above": above, "at_least": at_least, "at_most": at_most}
    return msgspec.Meta(
        description=description,
        extra={"kind": kind} | {name: bound for name, bound in bounds.items() if bound is not None},
    )


def seconds(description: str, *, zero: bool = False) -> msgspec.Meta:
    """A duration such as `10s`; `zero` allows 0."""
    return about(
        description,
        "duration",
        above=None if zero else 0,
        at_least=0 if zero else None,
        at_most=YEARS_10_S,
    )


def size(description: str, *, at_least: int = 1) -> msgspec.Meta:
    """A number of bytes such as `32MiB`."""
    return about(description, "size", at_least=at_least, at_most=EXBIBYTE)


Name = Annotated[str, about("letters, digits, dot, dash, underscore; at most 64", "name")]
LabelName = Annotated[str, about("the name of a label", "label_name")]
Label = Annotated[str, about("what a label says, one line", "label")]
Currency = Annotated[str, about("a currency code such as USD", "currency")]
Glob = Annotated[str, about("a model name, `*` and `?` as wildcards", "glob")]
EndUserSource = Annotated[
    str,
    about(
        "header:NAME, body:user, body:safety_identifier or body:metadata.NAME", "end_user_source"
    ),
]
TagSource = Annotated[
    str, about("header:NAME (`name=value, name=value`) or body:metadata", "tag_source")
]
Percent = Annotated[str, about("a share such as 80%", "percent")]
SteeringField = Annotated[
    str,
    about(
        "a field that chooses a model, vendor, host or key: models, provider, fallbacks …",
        "steering_field",
    ),
]
HeaderName = Annotated[str, about("a header's name", "header_name")]
HeaderValue = Annotated[str, about("a header's value", "header_value")]
