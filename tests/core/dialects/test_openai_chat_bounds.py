"""What a request may use at most, as far as its body tells; in doubt it does not tell."""

from __future__ import annotations

import pytest

from proxy.core.dialects.openai_chat import read_call
from proxy.core.dialects.openai_chat.bounds import holds_media

CHAT, COMPLETIONS, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"


@pytest.mark.parametrize(
    ("endpoint", "fields", "answers"),
    [
        (CHAT, "", 1),
        (CHAT, '"n":3', 3),
        (CHAT, '"n":null', 1),
        (CHAT, '"n":"3"', None),                # one server's 3 is another's error
        (CHAT, '"n":3.0', None),
        (CHAT, '"n":0', None),
        (CHAT, '"n":1048577', None),
        (CHAT, '"best_of":9', 1),               # no field of this endpoint
        (CHAT, '"web_search_options":{}', None),
        (CHAT, '"modalities":["text","audio"],"audio":{"voice":"x"}', None),
        (COMPLETIONS, '"prompt":"a"', 1),
        (COMPLETIONS, '"prompt":"a","n":2,"best_of":5', 5),
        (COMPLETIONS, '"prompt":["a","b","c"],"n":2', 6),
        (COMPLETIONS, '"prompt":[1,2,3],"n":2', 2),     # the tokens of one prompt
        (COMPLETIONS, '"prompt":[[1,2],[3]],"best_of":4', 8),
        (COMPLETIONS, '"prompt":[]', 1),
        (COMPLETIONS, '"prompt":["a"],"best_of":true', None),
        (EMBEDDINGS, '"input":["a","b"],"n":7', 0),
    ],
)
def test_how_many_answers_there_may_be(endpoint: str, fields: str, answers: int | None) -> None:
    body = '{"model":"m"' + (f",{fields}" if fields else "") + "}"
    assert read_call(endpoint, body.encode()).answers == answers


@pytest.mark.parametrize(
    ("body", "media"),
    [
        (b'{"type":"text","text":"\\u0041 image_url"}', False),
        (b'{"type":"image\\u005furl","image\\u005furl":{}}', True),
        (b'{"type":"\\u0066ile"}', True),
        (b'{"text":"\\\\u0041"}', False),
        (b'{"text":"\\ud83d","type":"image\\u005furl"}', True),   # not decodable as a whole, so it cannot be told
        (b'{"text":"\\u00e9","type":"input_audio"}', True),
    ],
)
def test_a_name_in_escapes_is_seen_too(body: bytes, media: bool) -> None:
    assert holds_media(body) == media
