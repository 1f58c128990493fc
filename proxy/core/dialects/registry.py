"""Which dialect is spoken at which path. A new one gets its line here.

Nothing else of the proxy names it but `Api` in config/settings/upstreams.py: what an upstream may
be said to serve.
"""

from __future__ import annotations

from collections.abc import Collection

from proxy.core.dialects.anthropic_messages.dialect import ANTHROPIC_MESSAGES
from proxy.core.dialects.contract import Dialect, KeptPath
from proxy.core.dialects.openai_chat.dialect import OPENAI_CHAT
from proxy.core.dialects.openai_responses.dialect import OPENAI_RESPONSES
from proxy.core.dialects.passthrough.dialect import NAME
from proxy.core.dialects.passthrough.dialect import passthrough as passthrough
from proxy.core.http.headers import RawHeaders, first

PASSTHROUGH = NAME  # what records say of paths that only the config names
DIALECTS = (OPENAI_CHAT, OPENAI_RESPONSES, ANTHROPIC_MESSAGES)
BY_ENDPOINT: dict[str, Dialect] = {
    endpoint: dialect for dialect in DIALECTS for endpoint in dialect.endpoints
}
DEFAULT = OPENAI_CHAT  # in which errors are told where no dialect is spoken
_BY_HEADER = {dialect.header: dialect for dialect in DIALECTS if dialect.header is not None}


def kept_at(path: str) -> tuple[Dialect, KeptPath] | None:
    """Whose answer, kept by its vendor, this path names; None where it names none."""
    for dialect in DIALECTS:
        kept = None if dialect.kept_path is None else dialect.kept_path(path)
        if kept is not None:
            return dialect, kept
    return None


def spoken_by(headers: RawHeaders) -> Dialect:
    """The dialect of a client that asks for something else than an endpoint, by its header."""
    for header, dialect in _BY_HEADER.items():
        if first(headers, header) is not None:
            return dialect
    return DEFAULT


def listing(apis: Collection[str]) -> tuple[str, RawHeaders]:
    """The target and request fields to ask a vendor of these APIs for its whole list of models."""
    for endpoint, dialect in BY_ENDPOINT.items():
        if dialect.list_models is not None and api_of(endpoint) in apis:
            return dialect.list_models
    return "/v1/models", ()


def api_of(endpoint: str) -> str:
    """The name of the API that an endpoint belongs to, as an upstream's `apis` has it."""
    return endpoint.split("/")[2]
