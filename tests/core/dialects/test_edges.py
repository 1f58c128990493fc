"""What can be read from the ends of an answer that is too large to keep. (Through the meter:
test_openai_chat_meter.py.)"""

from __future__ import annotations

import pytest

from proxy.core.dialects.edges import edge_of
from proxy.core.dialects.openai_chat.shapes import read_answer, read_leniently


@pytest.mark.parametrize(
    ("head", "tail", "usage"),
    [
        (b'{"data":[', b'0.1]],"usage":{"prompt_tokens":3},"model":"m"}', b'{"prompt_tokens":3}'),
        (b'{"usage":{"prompt_tokens":3},"data":[', b"0.1]]}", b'{"prompt_tokens":3}'),
        (b'{"a":{"usage":{"prompt_tokens":3},"data":[', b"0.1]]}}", None),
        (b'{"data":[', b'0.1],"usage":{"prompt_tokens":3}}]}', None),
        (b"", b"", None),
        (b'{"data":[', b'0.1]],"usage":{"prompt_tokens":3},"x":NaN}', b'{"prompt_tokens":3}'),
    ],
)
def test_only_usage_of_the_top_level_is_taken(
    head: bytes, tail: bytes, usage: bytes | None
) -> None:
    answer = edge_of(head, tail, read_answer, read_leniently)
    assert (None if answer is None else bytes(answer.usage)) == usage
