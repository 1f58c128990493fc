"""OpenAI's Responses, as one dialect of the contract."""

from __future__ import annotations

from functools import partial

from proxy.core.dialects.contract import Dialect
from proxy.core.dialects.openai_chat.pictures import count_pictures
from proxy.core.dialects.openai_chat.refusals import REMAINING_FIELDS, error_body, limit_fields
from proxy.core.dialects.openai_responses.call import PICTURE, read_call
from proxy.core.dialects.openai_responses.endpoints import ENDPOINTS, kept_path
from proxy.core.dialects.openai_responses.meter import ResponseMeter
from proxy.core.dialects.openai_responses.prompt import count_prompt_of
from proxy.core.dialects.openai_responses.refusals import error_event

OPENAI_RESPONSES = Dialect(
    name="openai_responses",
    endpoints=ENDPOINTS,
    read_call=read_call,
    open_meter=ResponseMeter,
    count_prompt=count_prompt_of,
    count_images=partial(count_pictures, member="input", kind=PICTURE),
    error_body=error_body,
    error_event=error_event,
    limit_fields=limit_fields,
    remaining_fields=REMAINING_FIELDS,
    kept_path=kept_path,
)
