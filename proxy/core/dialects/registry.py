"""Which dialect is spoken at which path. A new one gets its line here, and nothing else of the
proxy names it."""

from __future__ import annotations

from proxy.core.dialects.contract import Dialect, KeptPath
from proxy.core.dialects.openai_chat.dialect import OPENAI_CHAT
from proxy.core.dialects.openai_responses.dialect import OPENAI_RESPONSES

DIALECTS = (OPENAI_CHAT, OPENAI_RESPONSES)
BY_ENDPOINT: dict[str, Dialect] = {
    endpoint: dialect for dialect in DIALECTS for endpoint in dialect.endpoints
}
DEFAULT = OPENAI_CHAT  # in which errors are told where no dialect is spoken


def kept_at(path: str) -> tuple[Dialect, KeptPath] | None:
    """Whose answer, kept by its vendor, this path names; None where it names none."""
    for dialect in DIALECTS:
        kept = None if dialect.kept_path is None else dialect.kept_path(path)
        if kept is not None:
            return dialect, kept
    return None
