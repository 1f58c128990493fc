"""One POST of one message to a webhook.

Bounded in time and in bytes read. A redirect is never followed: the config alone says where a
message goes.
"""

from __future__ import annotations

import email.utils
import re
import ssl
import time
from collections.abc import Mapping
from urllib.parse import unquote

import aiohttp

from proxy import __version__
from proxy.notify.attempt import RETRY_AFTER_MAX_S, Attempt

TIMEOUT_S = 20.0  # Standard Webhooks: between 15 and 30
ANSWER_BYTES_MAX = 4096  # enough for the sentence in which Slack and Teams say what is wrong
_SHOWN_CHARS = 200
_PARTS = re.compile(r"[/?&=#;:@]")  # what stands between the parts of a path and a query
_SECRET_CHARS_MIN = 6  # shorter ones are words such as `hook` and `v1`
_AGAIN = frozenset({408, 425, 429})


class Poster:
    """Posts from one event loop.

    keep · keeps its connection; else messages are few    whole · a message has many parts, and is
    delivered only by an answer that takes all of them
    """

    def __init__(
        self, timeout_s: float = TIMEOUT_S, *, keep: bool = False, whole: bool = False
    ) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=not keep, limit=0),
            timeout=aiohttp.ClientTimeout(total=timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": f"tollkeeper/{__version__}", "Accept-Encoding": "identity"},
            auto_decompress=False,
            trust_env=False,
        )
        self._timeout_s = timeout_s
        self._whole = whole

    async def post(
        self, url: str, fields: Mapping[str, str], body: bytes, proxy: str = ""
    ) -> Attempt:
        """One attempt, by an HTTP proxy if one is named.

        It never raises for what the network or the receiver does.
        """
        try:
            async with self._session.post(
                url,
                data=body,
                headers={"Content-Type": "application/json", **fields},
                allow_redirects=False,
                proxy=proxy or None,
            ) as answer:
                text = _shown(await self._read(answer), url)
                if self._whole and (why := _not_all(answer.status, text)) is not None:
                    return Attempt("refused", f"HTTP {answer.status}: {why}")
                return _attempt(answer, text)
        except TimeoutError:
            return Attempt("again", f"no answer within {self._timeout_s:g} s")
        except (aiohttp.ClientSSLError, ssl.SSLError):
            return Attempt("again", "its certificate is not trusted")
        except aiohttp.InvalidURL:
            return Attempt("refused", "its URL cannot be read")
        except aiohttp.ClientConnectorDNSError:
            return Attempt("again", "its name is not found")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # Only the kind: the text of some names the whole URL.
            return Attempt("again", f"the connection failed ({type(error).__name__})")

    async def aclose(self) -> None:
        await self._session.close()

    async def _read(self, answer: aiohttp.ClientResponse) -> str:
        """The beginning of the answer, for people. What breaks behind its head changes nothing."""
        try:
            part = await answer.content.read(ANSWER_BYTES_MAX)
        except (aiohttp.ClientError, OSError, TimeoutError):
            return ""
        return part.decode("utf-8", errors="replace")


def _shown(text: str, url: str) -> str:
    """The text for people, without the URL's secret parts.

    Many servers quote the path that they do not know ("Cannot POST /services/…"), and each has its
    own way to escape it. So every part of a name's length is masked by itself.
    """
    secrets = set(_PARTS.split(url.partition("://")[2].partition("/")[2]))
    secrets |= {unquote(part) for part in secrets}
    for secret in (url, *sorted(secrets, key=len, reverse=True)):
        if len(secret) >= _SECRET_CHARS_MIN:
            text = text.replace(secret, "***")
    shown = "".join(sign if sign.isprintable() else " " for sign in text)
    return " ".join(shown.split())[:_SHOWN_CHARS]


def _attempt(answer: aiohttp.ClientResponse, text: str) -> Attempt:
    status = answer.status
    said = f"HTTP {status}" + (f": {text}" if text else "")
    if 200 <= status < 300:
        return Attempt("delivered", said)
    if 300 <= status < 400:
        return Attempt("refused", f"{said}; redirects are not followed: write the new URL")
    if status in _AGAIN or status >= 500:
        return Attempt("again", said, _retry_after_s(answer.headers.get("Retry-After")))
    return Attempt("refused", said)


def _not_all(status: int, text: str) -> str | None:
    """Why an answer that looks good does not say that all of a message was taken; None: it does."""
    if status == 207:
        return "it tells of each part by itself whether it was taken, which is not read here"
    # By its text: many a receiver says "ok" as text/html.
    if 200 <= status < 300 and text.lower().startswith(("<!doctype html", "<html")):
        return "that is a web page and no receiver: check the URL"
    return None


def _retry_after_s(field: str | None) -> float:
    """The seconds that a Retry-After asks to wait, as seconds or as a date; 0 if it says none."""
    if field is None:
        return 0.0
    if field.strip().isascii() and field.strip().isdigit():
        return min(float(field), RETRY_AFTER_MAX_S)
    try:
        at_s = email.utils.parsedate_to_datetime(field).timestamp()
    except (ValueError, OverflowError):
        return 0.0
    return min(max(0.0, at_s - time.time()), RETRY_AFTER_MAX_S)
