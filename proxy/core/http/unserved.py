"""The 404 for a path that is not served: it names method and path, and what to set instead."""

from __future__ import annotations

import re

from proxy.core.dialects.registry import BY_ENDPOINT
from proxy.core.errors import ProxyError

_CHAT = "This proxy serves the chat completions API, not this one"
_BASE_URL = "set base_url to this proxy's address and /v1, and nothing behind it"

# (its name in metrics, what the path looks like, what to do about it), the first that fits. A path
# here is without query, and lower-case.
_ADVICE: tuple[tuple[str, str, str], ...] = (
    (
        "/v1/responses",
        r"(?:/openai)?(?:/v1)?/responses(?:/.*)?",
        (
            f"The path is to be /v1/responses, with an id and input_items or cancel behind it at"
            f" most: {_BASE_URL}"
        ),
    ),
    (
        "/v1/messages",
        r"(?:/anthropic)?(?:/v1)?/messages(?:/.*)?",
        (
            "The path is to be /v1/messages, with count_tokens behind it at most: Anthropic's"
            " clients add /v1 themselves, so set their base_url to this proxy's address alone"
        ),
    ),
    (
        "/v1/complete",
        r"(?:/anthropic)?(?:/v1)?/complete",
        "This is Anthropic's API from before messages: POST to /v1/messages",
    ),
    (
        "/openai/deployments",
        r"/openai/deployments/.*",
        (
            "This is how clients of Azure OpenAI ask: use the plain client (OpenAI instead of"
            f" AzureOpenAI), {_BASE_URL}, and give the deployment's name as `model`"
        ),
    ),
    (
        "/v1/engines",
        r"(?:/v1)?/engines(?:/.*)?",
        (
            "Engines are from before 2023: put the model into the body as `model`, and POST to"
            " /v1/completions or /v1/embeddings"
        ),
    ),
    (
        "/v1beta",
        r"/v1beta/.*|.*:(?:stream)?generatecontent",
        f"{_CHAT}, which is Gemini's: use an OpenAI-compatible client, or that mode of yours",
    ),
    (
        "/api",
        r"/api/(?:chat|generate|tags|embed|embeddings|show|ps|version)",
        f"{_CHAT}, which is Ollama's: choose `OpenAI-compatible` in the client, and {_BASE_URL}",
    ),
    (
        "other",
        r"(?:/v1)?/(?:audio|images|files|uploads|batches|fine_tuning|fine-tunes|assistants|threads|"
        r"vector_stores|moderations|realtime|videos|rerank|ocr|edits|"
        r"evals|containers|conversations|organization)(?:/.*)?",
        ("The operator can name this path in `passthrough`, which passes it on: ask for that"),
    ),
)
_METHOD = re.compile("[A-Z]{1,10}")
# A part of a path as APIs have them; keys and ids have digits.
_WORD = re.compile(r"(?:[vV][0-9][a-z]{0,8}|[A-Za-z._:-]{0,40})")
_PARTS_MAX = 8
_COMPILED = tuple((label, re.compile(pattern), advice) for label, pattern, advice in _ADVICE)


def unknown_path(method: str, target: str) -> ProxyError:
    """404 `unknown_path`. The query is not shown: it may hold a key."""
    message = (
        f"{asked(method, target)} is not served here. {_advice(target.partition('?')[0])}. Served"
        f" are {', '.join(BY_ENDPOINT)}, /v1/models and /v1/usage, also without /v1."
    )
    return ProxyError(404, "invalid_request_error", "unknown_path", message)


def asked(method: str, target: str) -> str:
    """Method and path, bounded and printable. What may be an id or a key in it is `…`: a key in the
    wrong place must not come back, or reach the log."""
    parts = target.partition("?")[0].split("/")
    shown = [part if _WORD.fullmatch(part) else "…" for part in parts[: _PARTS_MAX + 1]]
    return (
        f"{method if _METHOD.fullmatch(method) else '…'}"
        f" {'/'.join(shown)}{'/…' if len(parts) > len(shown) else ''}"
    )


def family(path: str) -> str:
    """The API that a path belongs to, from a bounded set: a metric's label."""
    lower = path.lower()
    return next((label for label, pattern, _ in _COMPILED if pattern.fullmatch(lower)), "other")


def _advice(path: str) -> str:
    lower = path.rstrip("/").lower()
    for _, pattern, advice in _COMPILED:
        if pattern.fullmatch(lower):
            return advice
    served = next((end for end in BY_ENDPOINT if lower.endswith(end.removeprefix("/v1"))), None)
    if served is not None and lower == served:
        return f"Write it exactly as {served}, in small letters and without a slash at its end"
    if served is not None:  # /v1/v1/…, /v1/chat/completions/chat/completions, /api/v1/…
        return f"The path is to be {served}: {_BASE_URL}"
    return f"Check base_url and the path: {_BASE_URL}"
