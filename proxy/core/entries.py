"""The journal's entries: what was admitted, how far it may have been delivered, how it ended.

`Opened` is written before the first upstream byte, `Marked` before what it covers is forwarded,
`UsageRecord` (the close) before the response ends,
`Voided` when nothing reached the upstream after all.
"""

from __future__ import annotations

import msgspec

from proxy.core.usage import REQUIRED, ChargeClass, Usage


class Opened(msgspec.Struct, frozen=True, gc=False):
    """An admitted exchange that is about to be sent, with all that its record needs by then.

    It is made of its values in their order, as a `UsageRecord` is.
    """

    id: str
    started_at_ms: int
    key_id: str
    team: str | None = None
    labels: dict[str, str] = {}
    end_user: str | None = None
    tags: dict[str, str] = {}
    endpoint: str = REQUIRED
    dialect: str | None = None
    upstream: str = REQUIRED
    upstream_account: str | None = None
    model_requested: str | None = None
    stream: bool = False
    client_retry_count: int = 0
    bytes_in: int = 0
    input_estimate: int = 0  # tokens, charged as input if nothing is reported
    tier_asked: str | None = None  # the service tier that the request asks for
    images: int | None = None  # in the request, for prices per image; None: not counted
    charge_class: ChargeClass | None = None  # where no tokens are metered
    model_sent: str | None = None  # the upstream's name for it, where the model is an alias


class Marked(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A high-water mark: the most that may have been delivered so far.

    - `output_tokens`: in the record's own measure
    - `usage`: the last one that was stated, if any
    - `final`: that usage is the whole exchange's, not a running total
    """

    id: str
    output_tokens: int = 0
    usage: Usage | None = None
    final: bool = False
    status: int | None = None
    model_served: str | None = None


class Voided(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An opened exchange of which no byte reached an upstream: no record."""

    id: str
    reason: str
