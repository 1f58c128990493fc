"""How an exchange ended, and all that is known of it then: what a settlement is made from."""

from __future__ import annotations

import enum

import msgspec

from proxy.core.usage import FILTERED, Usage


class How(enum.StrEnum):
    """How an exchange ended, seen from the proxy."""

    ANSWERED = "answered"  # the upstream's answer ended as it should
    NO_HEAD = "no_head"  # sent, and no response head came
    UPSTREAM_CUT = "upstream_cut"  # the answer broke off
    ERROR_EVENT = "error_event"  # a 2xx answer that says inside that it failed
    CLIENT_LEFT = "client_left"  # and the upstream was stopped
    CLIENT_LEFT_DRAINED = "client_left_drained"  # and the upstream was read to its end
    CUT = "cut"  # by a limit, or by the proxy for want of its journal
    INTERRUPTED = "interrupted"  # the process ended, or died


class OwnCount(msgspec.Struct, frozen=True, gc=False):
    """What we count ourselves where nothing is stated, in tokens.

    `exact`: all of it was counted, with the vocabulary of the model's family.
    """

    input_tokens: int
    output_tokens: int
    input_exact: bool = False
    output_exact: bool = False


class Ending(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """All that is known of an exchange when it is over.

    - `output_measure`: tokens delivered, in the record's own measure; `counted` overrules it.
    - `usage_current`: no text came behind the stated output.
    - `usage_final`: the same, and the usage is the whole exchange's, not a running total.
    - `done`: all of the stream was delivered: `[DONE]`, or a finish reason and the final usage.
    - `answered`: the upstream sent an answer; None: nothing came that tells.
    - `output_held`: tokens charged at least, where the vendor goes on unread and bills more.
    """

    how: How
    status: int | None = None
    usage: Usage | None = None
    usage_current: bool = False
    usage_final: bool = False
    answered: bool | None = True
    output_measure: int = 0
    output_held: int = 0
    counted: OwnCount | None = None
    done: bool = False
    duration_ms: int = 0
    first_byte_ms: int | None = None
    bytes_out: int | None = 0
    chunks: int | None = 0
    model_served: str | None = None
    finish_reason: str | None = None
    upstream_request_id: str | None = None
    service_tier: str | None = None
    unread: bool = False  # something in the answer could not be read, so an estimate may miss it

    @property
    def counts_all(self) -> bool:
        """Whether the stated output counts all that was delivered."""
        return self.usage_current or self.usage_final

    @property
    def believed(self) -> Usage | None:
        """What was stated, without the zeros that are no counts."""
        if self.usage is None:
            return None
        failed = self.how is How.ERROR_EVENT or self.finish_reason == FILTERED
        return self.usage.beside(self.output_measure, answered=self.answered is True and not failed)
