"""Anthropic's Messages API, as one dialect of the contract."""

from __future__ import annotations

from proxy.core.dialects.anthropic_messages.call import read_call
from proxy.core.dialects.anthropic_messages.endpoints import ENDPOINTS
from proxy.core.dialects.anthropic_messages.meter import MessageMeter
from proxy.core.dialects.anthropic_messages.models import model_list
from proxy.core.dialects.anthropic_messages.pictures import count_images
from proxy.core.dialects.anthropic_messages.prompt import count_prompt
from proxy.core.dialects.anthropic_messages.refusals import (
    REMAINING_FIELDS,
    error_body,
    error_event,
    limit_fields,
)
from proxy.core.dialects.anthropic_messages.usual import usual_message
from proxy.core.dialects.contract import Dialect

VERSION = b"2023-06-01"  # by which lists of models are asked for: each has the same shape there

ANTHROPIC_MESSAGES = Dialect(
    name="anthropic_messages",
    endpoints=ENDPOINTS,
    read_call=read_call,
    open_meter=MessageMeter,
    read_whole=usual_message,
    count_prompt=count_prompt,
    count_images=count_images,
    error_body=error_body,
    error_event=error_event,
    limit_fields=limit_fields,
    remaining_fields=REMAINING_FIELDS,
    request_id_field=b"request-id",
    cached_inside_input=False,
    header=b"anthropic-version",
    model_list=model_list,
    list_models=("/v1/models?limit=1000", ((b"anthropic-version", VERSION),)),
)
