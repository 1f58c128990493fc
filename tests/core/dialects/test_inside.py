"""What a member chooses by a name inside of it: tools of OpenRouter, Anthropic and LiteLLM,
NanoGPT's advisor, `extra_body`."""

from __future__ import annotations

import msgspec
import pytest

from proxy.core.dialects.inside import steers_inside

CHOOSES = [
    ("tools", '[{"type":"function"},{"type":"openrouter:advisor","parameters":{"model":"dear"}}]'),
    ("tools", '[{"type":"advisor_20260301","name":"advisor","model":"dear"}]'),
    ("tools", '[{"type":"x","Parameters":{"analysis_models":["dear"]}}]'),
    ("tools", '[{"type":"advisor","api_base":"http://h"}]'),
    ("tools", '[{"type":"x","mo\\u0064el":"dear"}]'),
    ("Tools", '[{"MODEL":"dear"}]'),
    ("advisor", '{"mode":"auto","MODEL":"dear"}'),
    ("extra_body", '{"tools":[{"model":"dear"}]}'),
    ("extra_body", '{"advisor":{"model":"dear"}}'),
    ("extra_body", '{"max_tokens":100000}'),
    ("extra_body", '{"serviceTier":"priority"}'),
    ("extra_body", '{"n":8}'),
]
CHOOSES_NOTHING = [
    (
        "tools",
        '[{"type":"function","function":{"name":"f","parameters":{"properties":{"model":{}}}}}]',
    ),
    (
        "tools",
        '[{"type":"function","name":"f","parameters":{"type":"object","properties":{"model":{},"provider":{}}}}]',
    ),
    ("tools", '[{"type":"mcp","server_url":"u","headers":{}},{"type":"web_search","filters":{}}]'),
    ("tools", '[1,"model"]'),
    ("tools", "null"),
    ("response_format", '{"json_schema":{"model":1}}'),
    ("metadata", '{"model":"x"}'),
    ("logit_bias", '{"model":1}'),
    ("chat_template_kwargs", '{"enable_thinking":true}'),
    ("extra_body", '{"google":{"thinking_config":{"thinking_budget":800}},"top_k":5}'),
    ("messages", '{"model":"x"}'),
]


@pytest.mark.parametrize(("name", "value"), CHOOSES)
def test_a_model_or_a_host_inside_of_a_member_is_seen(name: str, value: str) -> None:
    assert steers_inside(name, msgspec.Raw(value.encode()))


@pytest.mark.parametrize(("name", "value"), CHOOSES_NOTHING)
def test_what_only_looks_like_it_is_none(name: str, value: str) -> None:
    assert not steers_inside(name, msgspec.Raw(value.encode()))


@pytest.mark.parametrize(
    ("tool", "chooses"),
    [('{"a":1}', False), ('{"apiBase":"h"}', True), ('{"\\u006dodel":"dear"}', True)],
)
def test_tools_beyond_what_is_decoded_are_looked_through(tool: str, chooses: bool) -> None:
    assert (
        steers_inside("tools", msgspec.Raw(b"[%b%b]" % (b'{"type":"x"},' * 90_000, tool.encode())))
        is chooses
    )
