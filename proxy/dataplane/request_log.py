"""One log line for each request, and for each one that was refused. Neither holds content."""

from __future__ import annotations

import logging
from typing import Literal

from proxy.core.usage import Outcome, UsageRecord

_REQUESTS = "tollkeeper.requests"


def request_line(requests: Literal["failed", "all", "none"], record: UsageRecord) -> None:
    """One line for a request that reached an upstream, if `log.requests` asks for it.

    All that did not complete has failed.
    """
    completed = record.outcome is Outcome.COMPLETED
    if requests == "none" or (requests == "failed" and completed):
        return
    fields = {
        "id": record.id,
        "team": record.team,
        "key": record.key_id,
        "endpoint": record.endpoint,
        "upstream": record.upstream,
        "model": record.model_requested,
        "stream": record.stream,
        "status": record.status,
        "outcome": str(record.outcome),
        "input_tokens": record.input_tokens,
        "output_tokens": record.output_tokens,
        "source": str(record.source),
        "duration_ms": record.duration_ms,
        "first_byte_ms": record.first_byte_ms,
    }
    logging.getLogger(_REQUESTS).log(
        logging.INFO if completed else logging.WARNING, "request", extra={"fields": fields}
    )


def refusal_line(
    requests: Literal["failed", "all", "none"],
    *,
    id: str | None,
    team: str | None,
    key_id: str | None,
    status: int,
    code: str,
    asked: str | None = None,
    limit: str | None = None,
) -> None:
    """One line for a request that the proxy refused itself, unless `log.requests` is none.

    The message is left out: it may quote the client.
    `asked`: method and path, where the path is what is wrong. `limit`: the id of what said no.
    """
    if requests == "none":
        return
    fields = {"id": id, "team": team, "key": key_id, "status": status, "code": code}
    fields |= {"asked": asked, "limit": limit}
    logging.getLogger(_REQUESTS).log(
        logging.ERROR if status >= 500 else logging.WARNING, "refused", extra={"fields": fields}
    )
