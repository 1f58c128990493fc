"""Paths that are passed through, as a dialect of the contract.

It has no endpoint of its own: the config names the paths.
"""

from __future__ import annotations

from functools import partial
from typing import NoReturn

from proxy.core.dialects.contract import Call, Dialect
from proxy.core.dialects.openai_chat.refusals import error_body, error_event, limit_fields
from proxy.core.dialects.passthrough.meter import PassMeter

NAME = "passthrough"


def passthrough(*, metered: bool, makes: bool) -> Dialect:
    """The dialect of one path; the words are `PassMeter`'s."""
    return Dialect(
        name=NAME,
        endpoints=(),
        read_call=_unread,
        open_meter=partial(PassMeter, metered=metered, makes=makes),
        count_prompt=_not_counted,
        count_images=_not_counted,
        error_body=error_body,
        error_event=error_event,
        limit_fields=limit_fields,
        names_what_it_made=makes,
    )


def _unread(_endpoint: str, _body: bytes) -> Call:
    raise AssertionError("a request that is passed through is not read")


def _not_counted(*_: object) -> NoReturn:
    raise AssertionError("a request that is passed through is not counted")
