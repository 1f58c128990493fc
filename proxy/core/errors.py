"""The one exception that the proxy answers with: status, type, code and message.

The message says whose fault it is and what to do next.
"""

from __future__ import annotations

from typing import Final

# The same request would get the same answer. Clients ask again all the same where nothing says so:
# Claude Code behind a 401, Codex behind all four.
FINAL: Final = frozenset((401, 403, 404, 413))
NOT_AGAIN: Final = (("x-should-retry", "false"),)


class ProxyError(Exception):
    """An answer made by the proxy itself; the caller's dialect gives it its shape.

    `status` HTTP status · `type` OpenAI's error family · `code` stable identifier of this project ·
    `message` for a person ·
    `param` the field at fault, if one · `headers` extra response headers as (name, value) pairs ·
    `close` end the connection after the answer · `request_id` to quote, once we know who asks ·
    `limit` the `Limit.id` of what said no, for operators' log, counts and metric.
    """

    def __init__(
        self,
        status: int,
        type: str,
        code: str,
        message: str,
        *,
        param: str | None = None,
        headers: tuple[tuple[str, str], ...] = (),
        close: bool = False,
        limit: str | None = None,
    ) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.type = type
        self.code = code
        self.message = message
        self.param = param
        self.headers = headers + NOT_AGAIN if status in FINAL else headers
        self.close = close
        self.limit = limit
        self.request_id: str | None = None

    def closing(self) -> ProxyError:
        """The same, and the connection ends with it."""
        self.close = True
        return self

    def told_to(self, request_id: str, support: str) -> None:
        """Adds the id to quote, and whom to ask, where it is known who is told."""
        self.request_id = request_id
        whom = f" Ask {support}." if support else ""
        self.message = f"{self.message}{whom} (Request id, if you ask for help: {request_id})"


def invalid_request(
    message: str, *, param: str | None = None, code: str = "invalid_request", close: bool = False
) -> ProxyError:
    """400: the client sent something no upstream could act on."""
    return ProxyError(400, "invalid_request_error", code, message, param=param, close=close)


def unavailable(code: str, message: str, *, retry_after_s: int = 1) -> ProxyError:
    """503: the proxy cannot take this request now; `retry-after` says when to try again."""
    return ProxyError(
        503, "api_error", code, message, headers=(("retry-after", str(retry_after_s)),)
    )


def too_large(bytes_max: int) -> ProxyError:
    """413: the body has more than `bodies.max`.

    The connection closes, since the rest of the body is not read.
    """
    message = (
        f"The request body is larger than the {bytes_max} bytes this proxy takes (bodies.max in its"
        " config). Send less, or ask its operator."
    )
    return ProxyError(413, "invalid_request_error", "body_too_large", message, close=True)
