"""One configured vendor: its address, its credential, and which headers cross."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Iterator
from functools import partial
from typing import Literal
from urllib.parse import urlencode

from yarl import URL

from proxy.config.settings import TimeoutSettings, UpstreamSettings
from proxy.core.dialects.contract import Dialect
from proxy.core.errors import ProxyError, unavailable
from proxy.core.http.content_coding import readable_codings
from proxy.core.http.headers import (
    RawHeaders,
    field_lines,
    inward_filter,
    is_credential,
    outward_filter,
)
from proxy.core.http.known_heads import KnownHead
from proxy.core.http.masking import Masking
from proxy.core.http.query import without
from proxy.core.http.response_head import AnswerHead
from proxy.core.model_names import matches_caseless
from proxy.core.steering import tells_a_key
from proxy.dataplane.upstream.pool import ConnectError, proxy_authorization

# Of a body as its client sent it: they do not hold for another one.
OF_THE_BODY = ("content-encoding", "content-md5", "digest", "content-digest", "repr-digest")
# Not forwarded with a POST, whose answer is always wanted and billed whole: with a part of it, or
# a 304, a cache or a gateway would hide what it cost.
CONDITIONS = (
    "range",
    "if-range",
    "if-match",
    "if-none-match",
    "if-modified-since",
    "if-unmodified-since",
)
MODELS_REMEMBERED_MAX = 4096  # the names come from clients


class Upstream:
    """A vendor as the exchange sees it.

    `head` builds a request head; `for_the_client` selects the fields that the client gets, and
    `start_for_the_client` writes them.
    """

    def __init__(self, name: str, settings: UpstreamSettings, timeouts: TimeoutSettings) -> None:
        self.name = name
        self.settings = settings
        self.timeouts = timeouts
        url = URL(settings.base_url)
        self._prefix = url.raw_path.rstrip("/")
        self._query = urlencode(settings.query)
        self._query_names = frozenset(map(str.casefold, settings.query))
        # An http:// upstream behind an egress proxy takes the absolute form; https:// goes through
        # a CONNECT tunnel.
        absolute = bool(settings.proxy) and url.scheme == "http"
        self._origin = f"http://{url.raw_authority.rpartition('@')[2]}" if absolute else ""
        own_headers = {name.lower(): value for name, value in settings.headers.items()}
        forward = settings.auth == "forward"
        bearer = settings.credential == "bearer"
        field = "authorization" if bearer else settings.credential
        if not forward and settings.api_key and field not in own_headers:
            own_headers[field] = f"Bearer {settings.api_key}" if bearer else settings.api_key
        host = own_headers.pop("host", url.raw_authority.rpartition("@")[2])
        chosen = partial(
            outward_filter,
            keep_credentials=forward,
            allow=settings.allow_request_headers,
            listed_only=settings.request_headers == "listed",
        )
        self._outward = chosen(replaced=own_headers)
        self._posted = chosen(replaced=[*own_headers, *CONDITIONS])
        renamed = [*own_headers, *CONDITIONS, *OF_THE_BODY]
        self._renamed = chosen(replaced=renamed)
        self._spliced = chosen(replaced=[*renamed, "accept-encoding"])
        allowed = settings.allow_response_headers
        self._inward = inward_filter(allow=allowed)
        self._to_page = inward_filter(allow=allowed, to_page=True)
        self._hides_reasoning: dict[str, bool] = {}
        self.masking = Masking(_secrets(settings))
        self.account = (
            None
            if forward or not settings.api_key
            else hashlib.sha256(settings.api_key.encode()).hexdigest()[:12]
        )
        self.tls: ssl.SSLContext | bool = (
            ssl.create_default_context(cafile=str(settings.ca_file)) if settings.ca_file else True
        )
        if absolute and (authorization := proxy_authorization(settings.proxy)) is not None:
            own_headers["proxy-authorization"] = authorization
        own_lines = "".join(f"{name}: {value}\r\n" for name, value in own_headers.items())
        self._version_line = f" HTTP/1.1\r\nHost: {host}\r\n{own_lines}".encode("latin-1")

    def __eq__(self, other: object) -> bool:
        """Whether both are one upstream to a client: of two configs, with the same settings."""
        return isinstance(other, Upstream) and (self.name, self.settings, self.timeouts) == (
            other.name,
            other.settings,
            other.timeouts,
        )

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def configured(self) -> bool:
        """False if the upstream needs a credential of ours and the config leaves it empty."""
        return (
            self.settings.auth == "forward"
            or bool(self.settings.api_key)
            or any(map(is_credential, self.settings.headers))
        )

    def hides_reasoning(self, model: str) -> bool:
        """Whether a stream of this model does not show all of its output tokens."""
        hides = self._hides_reasoning.get(model)
        if hides is None:
            hides = any(matches_caseless(glob, model) for glob in self.settings.hidden_reasoning)
            if len(self._hides_reasoning) < MODELS_REMEMBERED_MAX:
                self._hides_reasoning[model] = hides
        return hides

    def cached_inside_input(self, dialect: Dialect) -> bool:
        """Whether this vendor counts cached tokens inside its prompt tokens."""
        said = self.settings.cached_inside_input
        return dialect.cached_inside_input if said is None else said

    def policy_for_a_client_gone(self, model: str | None, stream: bool) -> Literal["stop", "drain"]:
        """What happens to an answer whose client left.

        `auto` reads on where a stop would hide what the vendor bills: an answer that is no stream,
        since it is generated to its end anyway, and output tokens that a stream does not show.
        """
        policy = self.settings.on_client_gone
        if policy != "auto":
            return policy
        hidden = model is not None and self.hides_reasoning(model)
        return "drain" if hidden or not stream else "stop"

    def head(
        self,
        method: str,
        target: str,
        headers: RawHeaders,
        body_bytes: int | None,
        *,
        via: bytes = b"",
        spliced: bool = False,
        chunked: bool = False,
    ) -> bytes:
        """The request head. `body_bytes` None means no body, or a `chunked` one.

        `target` is the client's, its path beginning with or without /v1. `via` is this process's
        own line, behind those of the client; a probe has none. `spliced`: the body is not quite the
        client's, so its checksums go, and the answer must not be compressed, so that an event can
        be taken out of it.
        """
        start = self.head_start(method, target, headers, via=via, spliced=spliced)
        if chunked:
            return start + b"Transfer-Encoding: chunked\r\n\r\n"
        if body_bytes is not None:
            return b"%bContent-Length: %d\r\n\r\n" % (start, body_bytes)
        return start + b"\r\n"

    def head_start(
        self,
        method: str,
        target: str,
        headers: RawHeaders,
        *,
        via: bytes = b"",
        spliced: bool = False,
        renamed: bool = False,
    ) -> bytes:
        """The request head up to where it says how long the body is.

        `renamed`: the body names another model than the client's and has no content coding.
        """
        path, mark, query = target.partition("?")
        path = self._prefix + (path[3:] if path.startswith("/v1/") else path)
        if self._query:
            query = without(query, self._query_names)
            query = f"{query}&{self._query}" if query else self._query
            mark = "?"
        parts = [
            f"{method} {self._origin}{path}{mark}{query}".encode("latin-1"),
            self._version_line,
        ]
        if spliced or renamed:
            chosen = self._spliced if spliced else self._renamed
        else:
            chosen = self._posted if method == "POST" else self._outward
        for name, value in chosen.select(headers):
            if len(name) == 15 and name.lower() == b"accept-encoding":
                value = readable_codings(value)
            parts += (name, b": ", value, b"\r\n")
        parts.append(via)
        if spliced:
            parts.append(b"Accept-Encoding: identity\r\n")
        return b"".join(parts)

    def for_the_client(
        self, head: AnswerHead, *, to_page: bool = False
    ) -> list[tuple[bytes, bytes]]:
        """The header fields that the client gets, without framing.

        Where they quote the operator's key, the key is masked.
        """
        chosen, masking = self._to_page if to_page else self._inward, self.masking
        headers = chosen.select(head.headers)
        if masking.forms and masking.found_in(head.raw):
            return [(name, masking.masked(value)) for name, value in headers]
        return headers

    def start_for_the_client(self, head: AnswerHead, *, to_page: bool) -> tuple[bytes, bytes]:
        """The words behind the status, and the same fields as lines."""
        known, masking = head.known, self.masking
        if type(known) is KnownHead and not (masking.forms and masking.found_in(head.raw)):
            return head.reason, known.written(head, self._to_page if to_page else self._inward)
        fields = self.for_the_client(head, to_page=to_page)
        return masking.masked(head.reason), field_lines(fields)

    def rejects_our_credential(self, status: int) -> bool:
        """Whether the answer is about the operator's key, and so not for the client.

        Its body would quote the key.
        """
        return (
            status in (401, 403)
            and self.settings.auth == "own"
            and not self.settings.pass_credential_errors
        )

    def failed(self, what: str) -> ProxyError:
        """502: the request was sent and no whole answer came."""
        message = (
            f"The upstream `{self.name}` {what} before an answer came. The fault is not yours;"
            " trying again is safe, but may be billed twice."
        )
        return ProxyError(502, "api_error", "upstream_failed", message)

    def timed_out(self, what: str) -> ProxyError:
        """504: the request was sent and the upstream is too slow."""
        message = (
            f"The upstream `{self.name}` {what}. The fault is not yours; try again, or ask the"
            " operator about `timeouts`."
        )
        return ProxyError(504, "api_error", "upstream_timeout", message)

    def told_our_credential(self) -> ProxyError:
        """502: the answer quotes the operator's key where it cannot be masked."""
        message = (
            f"The upstream `{self.name}` quoted this proxy's own credential in its answer, which is"
            " withheld. Your key is fine; ask the operator."
        )
        return ProxyError(502, "api_error", "upstream_failed", message)

    def credential_rejected(self, status: int) -> ProxyError:
        """502: the vendor refused the operator's key."""
        message = (
            f"The upstream `{self.name}` refused this proxy's own credential (status {status}). "
            f"Your key is fine; the operator has to check `upstreams.{self.name}.api_key`."
        )
        # Nothing changes until the operator has done something: an SDK would only ask the vendor
        # for more refusals.
        return ProxyError(
            502,
            "api_error",
            "upstream_rejected_credentials",
            message,
            headers=(("x-should-retry", "false"),),
        )

    def unreachable(self, error: ConnectError) -> ProxyError:
        """502, 503 or 504: no connection, so nothing was sent and nothing is charged."""
        if error.kind == "pool":
            return unavailable(
                "overloaded", f"The upstream `{self.name}` is busy: {error}. Try again shortly."
            )
        if error.kind == "timeout":
            message = (
                f"The upstream `{self.name}` gave {error}. Nothing was sent or charged; try again."
            )
            return ProxyError(504, "api_error", "upstream_timeout", message)
        message = (
            f"The upstream `{self.name}` cannot be reached: {error}. Nothing was sent or charged;"
            " try again, or ask the operator to check its base_url."
        )
        return ProxyError(502, "api_error", "upstream_unreachable", message)


def _secrets(settings: UpstreamSettings) -> Iterator[str]:
    """The secrets in an upstream's config: its key, and headers and parameters named like one."""
    yield settings.api_key
    for name, value in settings.headers.items():
        if is_credential(name) or tells_a_key(name.lower().encode("latin-1")):
            yield (
                value.partition(" ")[2].strip()
                if value.lower().startswith(("bearer ", "basic ", "token "))
                else value
            )
    for name, value in settings.query.items():
        if tells_a_key(name.lower().replace("_", "-").encode()):
            yield value
