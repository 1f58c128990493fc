"""What a request may use at most, as far as its body tells; in doubt it does not tell."""

from __future__ import annotations

import pytest

from proxy.core.dialects.openai_chat.call import read_call

CHAT, COMPLETIONS, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"


@pytest.mark.parametrize(
    ("endpoint", "fields", "answers"),
    [
        (CHAT, "", 1),
        (CHAT, '"n":3', 3),
        (CHAT, '"n":null', 1),
        (CHAT, '"n":"3"', None),  # one server's 3 is another's error
        (CHAT, '"n":3.0', None),
        (CHAT, '"n":0', None),
        (CHAT, '"n":1048577', None),
        (CHAT, '"best_of":9', 1),  # no field of this endpoint
        (CHAT, '"web_search_options":{}', None),
        (CHAT, '"modalities":["text","audio"],"audio":{"voice":"x"}', None),
        (COMPLETIONS, '"prompt":"a"', 1),
        (COMPLETIONS, '"prompt":"a","n":2,"best_of":5', 5),
        (COMPLETIONS, '"prompt":["a","b","c"],"n":2', 6),
        (COMPLETIONS, '"prompt":[1,2,3],"n":2', 2),  # the tokens of one prompt
        (COMPLETIONS, '"prompt":[[1,2],[3]],"best_of":4', 8),
        (COMPLETIONS, '"prompt":[]', 1),
        (COMPLETIONS, '"prompt": [ [1, 2] , [3] ]', 2),
        (COMPLETIONS, '"prompt":[1,2,"a","b"]', None),
        (COMPLETIONS, '"prompt":[{"text":"a"},{"text":"b"}]', None),
        (COMPLETIONS, '"prompt":["a"],"best_of":true', None),
        (COMPLETIONS, '"prompt":"a","Prompt":["a","b"]', None),
        (CHAT, '"tools":[{"type":"web_search"}]', None),
        (EMBEDDINGS, '"input":["a","b"],"n":7', 0),
    ],
)
def test_how_many_answers_there_may_be(endpoint: str, fields: str, answers: int | None) -> None:
    body = '{"model":"m"' + (f",{fields}" if fields else "") + "}"
    assert read_call(endpoint, body.encode()).answers == answers


@pytest.mark.parametrize(
    ("fields", "media"),
    [
        ('"messages":[]', False),
        ('"messages":null,"tools":null,"modalities":null,"audio":null', False),
        (
            '"messages":[{"role":"user","content":"an image_url"},{"role":"assistant","content":null,"audio":null,"tool_calls":[{"type":"function"}]}]',
            False,
        ),
        (
            '"messages":[{"content":[{"type":"text","text":"a","cache_control":{"type":"x"}},{"type":"refusal","refusal":"no"}]}]',
            False,
        ),
        ('"messages":[{"content":[{"type":"thinking","thinking":"a","signature":"b"}]}]', False),
        ('"messages":[{"content":"\\u0041 image_url"}]', False),
        (
            '"messages":[{"content":"\\ud83d"}]',
            False,
        ),  # half a character: sent by clients that cut a text inside an emoji
        (
            '"messages":[{"content":"a"}],"tools":[{"type":"function","function":{"parameters":{"properties":{"file":{}}}}},{"type":"custom"}]',
            False,
        ),
        ('"modalities":["text"],"enable_search":false', False),
        ('"messages":[{"content":[{"type":"image_url","image_url":{}}]}]', True),
        ('"messages":[{"content":[{"type":"video_url","video_url":{}}]}]', True),
        ('"messages":[{"content":[{"type":"audio_url","audio_url":{}}]}]', True),
        ('"messages":[{"content":[{"type":"video","video":["x"]}]}]', True),
        ('"messages":[{"content":[{"image":"x"}]}]', True),  # no type at all
        ('"messages":[{"content":[{"type":"text","text":"a","image":"x"}]}]', True),
        ('"messages":[{"content":{"parts":[]}}]', True),
        (
            '"messages":[{"role":"assistant","audio":{"id":"audio_1"}}]',
            True,
        ),  # an earlier answer's sound, by reference
        ('"messages":[{"content":"a","images":["x"]}]', True),
        ('"messages":[{"content":[{"type":"image\\u005furl","image\\u005furl":{}}]}]', True),
        (
            '"messages":[{"Content":[{"type":"\\u0066ile"}],"content":"a"}]',
            True,
        ),  # a reader without case finds it
        (
            '"messages":[{"content":[{"type":"image_url"}],"content":"a"}]',
            True,
        ),  # a reader that takes the first does
        ('"messages":[{"content":[{"type":"image\\u005furl"}],"content":"a"}]', True),
        ('"messages":[],"Messages":[{"content":"a"}]', True),
        ('"messages":"' + "a" * 2**20 + '"', True),
        ('"input":"a"', False),
        ('"input":["a","b"]', False),
        ('"input":[[1,2],[3]]', False),
        ('"input":[{"image":"x"}]', True),
        ('"input":["a",{"text":"b"}]', True),
        ('"input":["{"]', False),
        ('"input":{"image":"x"}', True),
        ('"tools":[{"type":"web_search"}]', True),
        ('"tools":[{"type":"function"},{"google_search":{}}]', True),
        ('"tools":{}', True),
        ('"enable_search":true', True),
        ('"WEB_SEARCH_OPTIONS":{}', True),
        ('"modalities":["text","image"]', True),
        ('"data_sources":[{}]', True),
    ],
)
def test_what_is_more_than_the_text_of_a_prompt(fields: str, media: bool) -> None:
    assert read_call(CHAT, ('{"model":"m",' + fields + "}").encode()).media == media


def test_a_megabyte_of_tools_is_not_gone_through() -> None:
    """Millions of `{}` held up every other request for a second while they were decoded."""
    tools = ",".join(['{"type":"function"}'] * 60_000)
    assert read_call(CHAT, f'{{"model":"m","messages":[],"tools":[{tools}]}}'.encode()).media


def test_a_list_of_more_prompts_than_are_made_into_objects_cannot_be_told() -> None:
    for entry in (b"[],", b"1,", b'"a",'):
        body = b'{"model":"m","prompt":[%b1]}' % (entry * (2**20 + 1))
        assert read_call(COMPLETIONS, body).answers is None
