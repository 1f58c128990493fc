"""Limits: of whom, how much, and what happens when one is reached."""

from __future__ import annotations

from typing import Annotated, Literal

from proxy.config.fields import Block, Percent, about


class LimitSettings(Block, frozen=True, kw_only=True):
    """A limit, written as its rule alone or as a mapping."""

    limit: Annotated[
        str, about("the rule: `<amount> <unit>[/<per>][ per <what>][ for <models>]`", "limit")
    ]
    name: Annotated[
        str, about("identity of the limit; by default derived from what it limits", "name")
    ] = ""
    per: Annotated[
        str,
        about(
            "each value of this has a count of its own: end_user, tag:NAME or header:NAME",
            "dimension",
        ),
    ] = ""
    enforce: Annotated[
        Literal["warn", "finish", "cut", "strict"], about("what happens when it is reached")
    ] = "finish"
    warn_at: Annotated[tuple[Percent, ...], about("shares of the amount at which to warn")] = ()
    burst: Annotated[
        int | None,
        about(
            "what a per-second, -minute or -hour limit admits at once; by default its amount",
            at_least=1,
        ),
    ] = None


class LimitDefaults(Block, frozen=True, kw_only=True):
    """Limits of everyone of a kind."""

    limits: Annotated[tuple[LimitSettings, ...], about("limits")] = ()


class Defaults(Block, frozen=True, kw_only=True):
    """Limits of teams and keys that name none."""

    team: Annotated[LimitDefaults, about("for each team without `limits`")] = LimitDefaults()
    key: Annotated[LimitDefaults, about("for each key without `limits`")] = LimitDefaults()


class StrictSettings(Block, frozen=True, kw_only=True):
    """The most that a request may use, for limits with `enforce: strict`.

    Its body's bytes are the most input tokens that it can be.
    """

    overhead_tokens: Annotated[
        int, about("what a vendor may add to a prompt, in tokens", at_least=0)
    ] = 256
    output_tokens: Annotated[
        int | None,
        about(
            "the longest answer where a request names no max_tokens; by default such a request is"
            " refused",
            at_least=1,
        ),
    ] = None
