"""Member names as the most lenient reader of an upstream may read them."""

from __future__ import annotations

import unicodedata

# What nearly every request is made of: looked up instead of worked out.
_USUAL = {
    name: name.replace("_", "")
    for name in """
        model messages stream stream_options temperature top_p n max_tokens max_completion_tokens
        tools tool_choice parallel_tool_calls user stop seed response_format reasoning_effort
        presence_penalty frequency_penalty logprobs metadata store prompt input encoding_format
        include_usage
    """.split()
}


def squeezed(name: str) -> str:
    """Letters and digits alone, without case: equal ones may be one name for some reader.

    Go matches names without case; readers in C stop at a NUL; Google's accept `maxTokens` for
    `max_tokens`; some trim blanks.
    """
    usual = _USUAL.get(name)
    if usual is not None:
        return usual
    plain = name.partition("\0")[0]
    if not plain.isascii():
        plain = unicodedata.normalize("NFKC", plain)
    plain = plain.replace("_", "").casefold()
    return plain if plain.isalnum() else "".join(filter(str.isalnum, plain))
