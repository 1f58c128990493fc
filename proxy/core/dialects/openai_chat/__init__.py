"""The dialect of OpenAI's chat completions, completions and embeddings, as OpenAI and the many
vendors that follow it speak it.

`call.py` reads a request, `meter.py` an answer as it flows by; `text.py` measures delivered text
and `shapes.py` knows where each vendor puts its usage.
"""

from proxy.core.dialects.openai_chat.call import Call, read_call
from proxy.core.dialects.openai_chat.meter import Meter
from proxy.core.dialects.request_fields import forbid_fields

__all__ = ["Call", "Meter", "forbid_fields", "read_call"]
