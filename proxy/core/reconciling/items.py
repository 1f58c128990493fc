"""What a line is about: the model and the part of its use, from the text of one cell."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from proxy.core.reconciling.lines import (
    ALL,
    CACHE_WRITE,
    CACHE_WRITE_LONG,
    CACHED,
    INPUT,
    OUTPUT,
    SEARCH,
)

REQUESTS: Final = "requests"  # a line that counts requests and costs nothing
_OPENAI: Final = re.compile(
    r"(?:(?P<tier>priority|flex|batch|scale)\s*\|\s*)?"
    r"(?P<model>[^\s,|]+)(?: (?P<kind>audio|text|image))?, (?P<part>[^,]+)(?:, long context)?",
    re.IGNORECASE,
)
_OPENAI_PART: Final = re.compile(r"(?:(?P<kind>audio|text|image) )?(?P<part>.+?)(?:_tokens)?")
_OPENAI_PARTS: Final = {
    "cached input": CACHED,
    "cache write": CACHE_WRITE,
    "cache writes": CACHE_WRITE,
}
# What Model Studio calls the kinds of tokens; the kinds of a cache are only seen in bills.
_DASHSCOPE: Final = re.compile(r"(?:input|output)_?token\w*|(?:image|audio|video|text)_?\w*", re.I)
_WORDS: Final[Mapping[str, str]] = {
    "uncached_input_tokens": INPUT,
    "input_no_cache": INPUT,
    "input_cache_miss_tokens": INPUT,
    "input_tokens": INPUT,
    "input": INPUT,
    "prompt": INPUT,
    "input_token": INPUT,
    "cache_read_input_tokens": CACHED,
    "input_cache_read": CACHED,
    "input_cache_hit_tokens": CACHED,
    "cached_input": CACHED,
    "cached": CACHED,
    "input_token_cache": CACHED,
    "input_token_cache_read": CACHED,
    "cache_creation.ephemeral_5m_input_tokens": CACHE_WRITE,
    "input_cache_write_5m": CACHE_WRITE,
    "cache_write": CACHE_WRITE,
    "input_token_cache_creation": CACHE_WRITE,
    "cache_creation.ephemeral_1h_input_tokens": CACHE_WRITE_LONG,
    "input_cache_write_1h": CACHE_WRITE_LONG,
    "output_tokens": OUTPUT,
    "output": OUTPUT,
    "completion": OUTPUT,
    "output_token": OUTPUT,
    "web_search": SEARCH,
    "request_count": REQUESTS,
}


class About(msgspec.Struct, frozen=True):
    """What a cell names. `asks`: requests make such a line."""

    item: str = ALL
    model: str | None = None
    tier: str | None = None
    asks: bool = True


def about(how: str, text: str | None) -> About:
    """Reads a cell as vendors of this kind write it."""
    return About() if text is None else _READERS[how](text)


def _plain(text: str) -> About:
    said = text.strip().casefold().replace(" ", "_").replace("-", "_")
    return About(_WORDS.get(said, text.strip().casefold()))


def _openai(text: str) -> About:
    """`priority | gpt-5.6-sol, cached input, long context`; tools have a name and no model."""
    match = _OPENAI.fullmatch(text.strip())
    if match is None:
        return About(SEARCH if "web search" in text.casefold() else text.strip().casefold())
    named = _OPENAI_PART.fullmatch(match["part"].casefold())
    assert named is not None, "a part has a letter"
    part = named["part"].replace("_", " ")
    kind = (match["kind"] or named["kind"] or "").casefold()
    item = _OPENAI_PARTS.get(part, part)
    if kind in ("audio", "image") and item in (INPUT, OUTPUT):
        item = f"{kind}_{item}"
    return About(item, match["model"], match["tier"] and match["tier"].casefold())


def _dashscope(text: str) -> About:
    """`ApiKeyID;workspace;model;kind of token;channel;flag`, the last ones not always there."""
    parts = [part.strip() for part in text.split(";")]
    for place, part in enumerate(parts):
        if place >= 1 and _DASHSCOPE.fullmatch(part) and parts[place - 1]:
            return About(_plain(part).item, parts[place - 1])
    return About(asks=False)


def _focus(text: str) -> About:
    said = text.casefold()
    for word, item in (
        ("cached", CACHED),
        ("cache read", CACHED),
        ("cache write", CACHE_WRITE),
        ("input", INPUT),
        ("prompt", INPUT),
        ("output", OUTPUT),
        ("completion", OUTPUT),
    ):
        if word in said:
            return About(item)
    return About()


_READERS: Final[Mapping[str, Callable[[str], About]]] = {
    "plain": _plain,
    "openai": _openai,
    "anthropic": _plain,
    "deepseek": _plain,
    "dashscope": _dashscope,
    "focus": _focus,
}
