"""Which model name means which behaviour, as two tables.

The faults of the `demo-` models, and the shapes of the documented vendors.
"""

from __future__ import annotations

import enum
from fnmatch import fnmatchcase

import msgspec


class UsageAt(enum.Enum):
    """Where a stream states its usage."""

    ASKED = "in a last event without choices, if the request asks; `usage: null` on the others then"
    FINISH = "on the event with the finish reason, asked or not"
    CHOICE = "inside the choice of the event with the finish reason (Moonshot)"
    X_GROQ = "under `x_groq` on the event with the finish reason (Groq)"
    EVERY = "on every event, counting up (Gemini)"
    NEVER = "nowhere, not in JSON answers either"


class ScriptedUsage(enum.Enum):
    """How the counts of a usage object are named and what they include."""

    DETAILED = "OpenAI's, with both details objects"
    PLAIN = "the three totals only"
    DEEPSEEK = "prompt_cache_hit_tokens and prompt_cache_miss_tokens"
    XAI = "completion_tokens without the reasoning, total_tokens with it"


class Fault(enum.Enum):
    """What goes wrong with an answer. The fault's argument, where it takes one, stands behind a
    colon in the model's name."""

    NONE = ""
    ERROR = "an error status"
    ERROR_EVENT = "an error inside a 200 answer, then [DONE]"
    RESET = "connection reset in mid-answer"
    CLOSE = "connection closed in mid-answer, in good order for TCP only"
    STALL = "silence in mid-answer, for ever"
    NO_HEAD = "connection closed without an answer"
    HANG = "no answer, for ever"
    NO_DONE = "no [DONE] at the end"
    HTML = "an HTML page with status 200"
    REDIRECT = "a redirect to another host, which must not be followed"


class AnswerShape(msgspec.Struct, frozen=True, kw_only=True):
    """How a vendor's answers look where they differ from OpenAI's."""

    owner: str = "tollkeeper"
    usage_at: UsageAt = UsageAt.ASKED
    counts: ScriptedUsage = ScriptedUsage.DETAILED
    bare: bool = False  # events hold delta and index only, as two of the documents print them
    choices_first: bool = False  # the envelope follows the choices
    fingerprint: str | None = None
    logprobs_null: bool = False  # `logprobs: null` on choices that were not asked for any
    serves: str | None = None  # another model's name in the answer


class Behaviour(msgspec.Struct, frozen=True, kw_only=True):
    """All that a model's name decides."""

    shape: AnswerShape = AnswerShape()
    fault: Fault = Fault.NONE
    after: int = 3  # events before the fault
    status: int = 200
    error_style: str = "openai"
    pace_s: float | None = None  # between events; None: the server's own
    words: int | None = None  # answer with so many words
    always_tools: bool = False
    thinks: bool = False  # says its reasoning aloud
    never_streams: bool = False  # JSON even if asked to stream
    line_end: str = "\n"
    comments: bool = False
    encoding: str | None = None  # content encoding, whatever was accepted


OPENAI = AnswerShape(owner="openai", fingerprint="fp_44709d6fcb", logprobs_null=True)
MODELMAX = AnswerShape(owner="modelmax", counts=ScriptedUsage.PLAIN, bare=True)
SKYZE = AnswerShape(owner="sky-ze", counts=ScriptedUsage.PLAIN, bare=True, choices_first=True)

# First match wins. The four vendors of the shipped config first, by the models their documents
# show, then shapes of others that stand behind them.
VENDORS: tuple[tuple[str, AnswerShape], ...] = (
    ("deepseek-v3.2", MODELMAX),
    ("gemini-3-flash-preview", MODELMAX),
    ("qwen3-max-*", SKYZE),
    ("gpt-*", OPENAI),
    ("o1", OPENAI),
    ("o3-mini", OPENAI),
    ("claude-*", AnswerShape(owner="anthropic", counts=ScriptedUsage.PLAIN, logprobs_null=True)),
    (
        "deepseek-*",
        AnswerShape(
            owner="deepseek",
            usage_at=UsageAt.FINISH,
            counts=ScriptedUsage.DEEPSEEK,
            fingerprint="fp_8802369eaa_prod0425fp8",
            logprobs_null=True,
        ),
    ),
    ("gemini-*", AnswerShape(owner="google", usage_at=UsageAt.EVERY, counts=ScriptedUsage.PLAIN)),
    ("grok-*", AnswerShape(owner="xai", counts=ScriptedUsage.XAI, fingerprint="fp_156d35dcaa")),
    ("qwen-*", AnswerShape(owner="alibaba", counts=ScriptedUsage.PLAIN)),
    ("kimi-*", AnswerShape(owner="moonshot", usage_at=UsageAt.CHOICE, counts=ScriptedUsage.PLAIN)),
    (
        "llama-*",
        AnswerShape(
            owner="groq",
            usage_at=UsageAt.X_GROQ,
            counts=ScriptedUsage.PLAIN,
            fingerprint="fp_3f3b593e33",
        ),
    ),
    (
        "mistral-*",
        AnswerShape(owner="mistralai", usage_at=UsageAt.FINISH, counts=ScriptedUsage.PLAIN),
    ),
)

DEMOS: dict[str, Behaviour] = {
    "demo-chat": Behaviour(),
    "demo-reports": Behaviour(shape=AnswerShape(usage_at=UsageAt.FINISH)),
    "demo-silent": Behaviour(shape=AnswerShape(usage_at=UsageAt.NEVER)),
    "demo-cumulative": Behaviour(shape=AnswerShape(usage_at=UsageAt.EVERY)),
    "demo-tools": Behaviour(always_tools=True),
    "demo-reasoning": Behaviour(thinks=True),
    "demo-slow": Behaviour(pace_s=0.05),
    "demo-long": Behaviour(words=200),
    "demo-substitute": Behaviour(shape=AnswerShape(serves="demo-other")),
    "demo-json": Behaviour(never_streams=True),
    "demo-crlf": Behaviour(line_end="\r\n"),
    "demo-cr": Behaviour(line_end="\r"),
    "demo-comments": Behaviour(comments=True),
    "demo-gzip": Behaviour(encoding="gzip"),
    "demo-deflate": Behaviour(encoding="deflate"),
    "demo-error-event": Behaviour(fault=Fault.ERROR_EVENT),
    "demo-cut": Behaviour(fault=Fault.RESET),
    "demo-close": Behaviour(fault=Fault.CLOSE),
    "demo-stall": Behaviour(fault=Fault.STALL),
    "demo-no-head": Behaviour(fault=Fault.NO_HEAD),
    "demo-hang": Behaviour(fault=Fault.HANG),
    "demo-nodone": Behaviour(fault=Fault.NO_DONE),
    "demo-html": Behaviour(fault=Fault.HTML),
    "demo-redirect": Behaviour(fault=Fault.REDIRECT, status=307),
}

# What GET /v1/models lists: the demos and the names that the vendors' documents use.
LISTED: tuple[str, ...] = (
    *DEMOS,
    *(f"demo-error-{status}" for status in (400, 401, 429, 500)),
    "deepseek-v3.2",
    "gemini-3-flash-preview",
    "qwen3-max-2026-01-23",
    "gpt-4o",
    "gpt-4o-mini",
    "gpt-4-turbo",
    "o1",
    "o3-mini",
    "claude-opus-4-5",
    "claude-sonnet-4-5",
    "claude-haiku-3-5",
    "gemini-2.5-pro",
    "gemini-2.0-flash",
    "deepseek-chat",
    "deepseek-reasoner",
    "grok-3",
    "grok-2",
    "qwen-max",
    "qwen-plus",
    "qwen-turbo",
    "llama-3.3-70b-instruct",
    "llama-3.1-8b-instruct",
    "meta-llama/Llama-3",
    "text-embedding-3-small",
)


def behaviour(model: str) -> Behaviour:
    """The behaviour of `model`.

    A demo's row with its argument, a vendor's shape, or plain OpenAI rules for any other name.
    """
    name, _, argument = model.partition(":")
    if name.startswith("demo-error-") and name[11:].isdigit():
        status = int(name[11:])
        return Behaviour(
            fault=Fault.ERROR,
            status=status if 400 <= status <= 599 else 500,
            error_style=argument or "openai",
        )
    demo = DEMOS.get(name)
    if demo is not None:
        return _with_argument(demo, argument) if argument else demo
    for pattern, shape in VENDORS:
        if fnmatchcase(model, pattern):
            return Behaviour(shape=shape, thinks=model == "deepseek-reasoner")
    return Behaviour()


def owner(model: str) -> str:
    """`owned_by` in the list of models."""
    return behaviour(model).shape.owner


def _with_argument(demo: Behaviour, argument: str) -> Behaviour:
    """Reads the one number behind the colon; nonsense is ignored.

    Seconds for a paced model, words for a long one, events before a fault for the others.
    """
    try:
        number = float(argument)
    except ValueError:
        return demo
    if not 0 <= number <= 1_000_000:
        return demo
    if demo.pace_s is not None:
        return msgspec.structs.replace(demo, pace_s=number)
    if demo.words is not None:
        return msgspec.structs.replace(demo, words=int(number))
    return msgspec.structs.replace(demo, after=int(number))
