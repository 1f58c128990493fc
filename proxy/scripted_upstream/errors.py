"""Errors in the shapes that upstreams use: JSON of several vendors, plain text and HTML."""

from __future__ import annotations

import msgspec

HTML = (
    b"<!doctype html><html><head><title>Welcome</title></head><body><h1>It"
    b" works!</h1></body></html>\n"
)

_OPENAI: dict[int, tuple[str, str | None, str]] = {
    400: ("invalid_request_error", None, "The scripted upstream was asked to refuse this request."),
    401: (
        "invalid_request_error",
        "invalid_api_key",
        "Incorrect API key provided: {credential}. You can find your API key in your account.",
    ),
    403: (
        "invalid_request_error",
        "unsupported_country_region_territory",
        "This request is not allowed with the key {credential}.",
    ),
    404: (
        "invalid_request_error",
        "model_not_found",
        "The model does not exist or you do not have access to it.",
    ),
    429: (
        "requests",
        "rate_limit_exceeded",
        "Rate limit reached for requests. Please try again in 1s.",
    ),
    500: (
        "server_error",
        None,
        "The server had an error while processing your request. Sorry about that!",
    ),
    503: (
        "server_error",
        "overloaded",
        "The engine is currently overloaded, please try again later.",
    ),
}


class Failure(msgspec.Struct, frozen=True):
    """An error answer: its content type, body and further headers."""

    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


def openai(
    status: int, message: str | None = None, *, param: str | None = None, credential: str = ""
) -> dict[str, object]:
    """OpenAI's error object for `status`. Some vendors quote the key they were given: so does the
    default message of 401 and 403."""
    kind, code, text = _OPENAI.get(status, _OPENAI[400 if status < 500 else 500])
    said = text.format(credential=credential) if message is None else message
    return {"error": {"message": said, "type": kind, "param": param, "code": code}}


def failure(status: int, style: str = "openai", *, credential: str = "") -> Failure:
    """The error answer for `status` in a vendor's `style`; an unknown style is OpenAI's."""
    message = f"Scripted error {status}."
    headers = (
        (
            ("retry-after", "1"),
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", "1s"),
        )
        if status == 429
        else ()
    )
    bodies: dict[str, object] = {
        "mistral": {
            "object": "error",
            "message": message,
            "type": "invalid_request_error",
            "code": 1500,
        },
        "anthropic": {"type": "error", "error": {"type": "api_error", "message": message}},
        "detail": {"detail": message},
        "string": message,
        "llamacpp": {"error": {"code": status, "message": message, "type": "server_error"}},
    }
    if style == "text":
        return Failure("text/plain; charset=utf-8", message.encode(), headers)
    if style == "html":
        return Failure("text/html; charset=utf-8", HTML, headers)
    return Failure(
        "application/json",
        msgspec.json.encode(bodies.get(style, openai(status, credential=credential))),
        headers,
    )
