"""What tokens cost: price rows, shares off or on them, exchange rates, the tokens of images."""

from __future__ import annotations

from typing import Annotated

from proxy.config.fields import Block, about


class FxRate(Block, frozen=True, kw_only=True):
    """One exchange rate, valid from a day on."""

    rate: Annotated[
        str,
        about("units of `currency` for one of the foreign unit, a decimal in quotes", "decimal"),
    ]
    from_: Annotated[
        str | None, about("first day, from midnight in `timezone`; by default always", "date")
    ] = None


class DatedShare(Block, frozen=True, kw_only=True):
    """A discount or markup, valid from a day on."""

    rate: Annotated[str, about('a share, a decimal in quotes: "0.05" is 5 %', "decimal")]
    from_: Annotated[
        str | None, about("first day, from midnight in `timezone`; by default always", "date")
    ] = None


class Price(Block, frozen=True, kw_only=True):
    """A price row: decimals in quotes, per million tokens."""

    model: Annotated[str, about("a model name, `*` and `?` as wildcards", "glob")]
    upstream: Annotated[str | None, about("a name in `upstreams`; by default any")] = None
    input: Annotated[str | None, about("input tokens", "decimal")] = None
    cached: Annotated[
        str | None, about("input tokens read from a cache; by default as input", "decimal")
    ] = None
    cache_write: Annotated[
        str | None, about("input tokens written to a cache; by default as input", "decimal")
    ] = None
    cache_write_long: Annotated[
        str | None,
        about(
            "those of them kept for an hour or longer; by default as `cache_write`",
            "decimal",
        ),
    ] = None
    output: Annotated[str | None, about("output tokens", "decimal")] = None
    reasoning: Annotated[str | None, about("reasoning tokens; by default as output", "decimal")] = (
        None
    )
    audio_input: Annotated[
        str | None, about("audio input tokens; by default as input", "decimal")
    ] = None
    audio_output: Annotated[
        str | None, about("audio output tokens; by default as output", "decimal")
    ] = None
    image: Annotated[str | None, about("one image in a request", "decimal")] = None
    search: Annotated[
        str | None, about("one web search that the vendor states it made", "decimal")
    ] = None
    request: Annotated[
        str | None, about("one request that was answered with a 2xx status", "decimal")
    ] = None
    service_tier: Annotated[str | None, about("only answers of this tier")] = None
    above_input_tokens: Annotated[
        int | None,
        about(
            "only requests with more input tokens; the row's prices then hold for all of them",
            at_least=0,
        ),
    ] = None
    hours_utc: Annotated[
        str | None,
        about("only requests begun in these hours of the UTC day, such as 16:30-00:30", "hours"),
    ] = None
    currency: Annotated[
        str | None, about("currency of the row; by default the top-level one", "currency")
    ] = None
    from_: Annotated[
        str | None, about("first day, from midnight in `timezone`; by default always", "date")
    ] = None


class ImageTokens(Block, frozen=True, kw_only=True):
    """The tokens of an image in a prompt, counted by tiles or by patches.

    For models whose rule is not known or differs from what the vendors publish.
    """

    models: Annotated[str, about("a model name, `*` and `?` as wildcards", "glob")]
    base: Annotated[
        int | None,
        about(
            "tiles of 512 px: tokens of the image as such, all there is at `detail: low`",
            at_least=0,
        ),
    ] = None
    tile: Annotated[int | None, about("tokens of each tile", at_least=0)] = None
    patch: Annotated[
        str | None, about("patches of 32 px: tokens of each, a decimal in quotes", "decimal")
    ] = None
    patches_max: Annotated[
        int, about("patches to which a larger image is scaled down", at_least=1)
    ] = 1536
