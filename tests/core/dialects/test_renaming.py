"""A renamed body is the one that a client would send who knows the other name, and is read so."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.dialects.contract import Dialect
from proxy.core.dialects.registry import DIALECTS
from proxy.core.dialects.renaming import renamed
from tests.support.effort import examples
from tests.support.toy_wire.dialect import TOY

ALIAS = "fast 模型"
# The same name as clients may write it.
WRITTEN = ['"fast 模型"', r'"fast \u6a21\u578b"', r'"f\u0061st 模\u578b"']
SENT = st.text('abcXYZ019-._:/[]模"\\é', min_size=1, max_size=40)
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
PICTURE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
SOURCE = {"type": "base64", "media_type": "image/png", "data": PNG}
SEEN = {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"}
MEMBERS = st.lists(
    st.sampled_from(
        [
            ("messages", [{"role": "user", "content": "Grüße 🌊 \\ \"model\":\"fast\""}]),
            ("messages", [{"role": "user", "content": [{"type": "text", "text": "a"}, PICTURE]}]),
            ("messages", [{"role": "user", "content": [{"type": "image", "source": SOURCE}]}]),
            ("input", [{"role": "user", "content": [SEEN]}]),
            ("input", "Hello"),
            ("prompt", "model"),
            ("stream", True),
            ("stream", False),
            ("stream_options", {"include_usage": False}),
            ("stream_options", None),
            ("max_tokens", 7),
            ("user", "model"),
            ("metadata", {"model": "fast"}),
            ("tools", [{"type": "function", "function": {"name": "model"}}]),
        ]
    ),
    max_size=6,
    unique_by=lambda member: member[0],
)  # fmt: skip


@pytest.mark.parametrize("dialect", (*DIALECTS, TOY), ids=lambda dialect: dialect.name)
@given(
    before=MEMBERS,
    after=MEMBERS,
    written=st.sampled_from(WRITTEN),
    sent=SENT,
    spaced=st.booleans(),
    ascii=st.booleans(),
)
@settings(max_examples=examples(300), derandomize=True)
def test_it_is_the_body_that_names_the_other_model(
    dialect: Dialect,
    before: list[tuple[str, object]],
    after: list[tuple[str, object]],
    written: str,
    sent: str,
    spaced: bool,
    ascii: bool,
) -> None:
    known = {name for name, _ in before}
    members = [(name, value) for name, value in after if name not in known]
    comma, colon = (" , ", " : ") if spaced else (",", ":")

    def body(model: str) -> bytes:
        parts = [
            f'"{name}"{colon}{json.dumps(value, ensure_ascii=ascii, separators=(",", ":"))}'
            for name, value in before
        ]
        parts.append(f'"model"{colon}{model}')
        parts += [
            f'"{name}"{colon}{json.dumps(value, ensure_ascii=ascii)}' for name, value in members
        ]
        return (" " * spaced + "{" + comma.join(parts) + "}" + "\n" * spaced).encode()

    said = body(written)
    quoted = json.dumps(sent, ensure_ascii=False)
    for endpoint in dialect.endpoints:
        call = dialect.read_call(endpoint, said)
        assert call.model == ALIAS
        asked, renamed_call = renamed(said, call, sent)
        assert asked == body(quoted)
        assert renamed_call == dialect.read_call(endpoint, asked)
        if dialect.ask_for_usage is not None:
            assert dialect.ask_for_usage(asked, renamed_call) == dialect.ask_for_usage(
                asked, dialect.read_call(endpoint, asked)
            )
