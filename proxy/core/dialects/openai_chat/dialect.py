"""OpenAI's chat completions, completions and embeddings, as one dialect of the contract."""

from __future__ import annotations

from proxy.core.dialects.contract import Dialect
from proxy.core.dialects.openai_chat.call import read_call
from proxy.core.dialects.openai_chat.endpoints import ENDPOINTS
from proxy.core.dialects.openai_chat.injection import UsageEventFilter, splice
from proxy.core.dialects.openai_chat.meter import ChatMeter
from proxy.core.dialects.openai_chat.pictures import count_images
from proxy.core.dialects.openai_chat.prompt import count_prompt_of
from proxy.core.dialects.openai_chat.refusals import (
    REMAINING_FIELDS,
    error_body,
    error_event,
    limit_fields,
)
from proxy.core.dialects.openai_chat.usual import usual_answer

OPENAI_CHAT = Dialect(
    name="openai_chat",
    endpoints=ENDPOINTS,
    read_call=read_call,
    open_meter=ChatMeter,
    read_whole=usual_answer,
    ask_for_usage=splice,
    usage_filter=UsageEventFilter,
    count_prompt=count_prompt_of,
    count_images=count_images,
    error_body=error_body,
    error_event=error_event,
    limit_fields=limit_fields,
    remaining_fields=REMAINING_FIELDS,
)
