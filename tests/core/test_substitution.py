"""When an answer is another model's."""

import pytest

from proxy.core.model_names import substituted


@pytest.mark.parametrize(
    ("requested", "served", "expected"),
    [
        ("gpt-4o", "gpt-4o", False),
        ("gpt-4o", "gpt-4o-2024-08-06", False),
        ("gpt-4o-2024-05-13", "gpt-4o-2024-08-06", False),
        ("claude-3-5-sonnet-latest", "claude-3-5-sonnet-20241022", False),
        ("claude-opus-4@20250514", "claude-opus-4", False),
        ("gemini-2.5-pro", "gemini-2.5-pro-preview-05-06", False),
        ("gpt-4", "gpt-4-0613", False),
        ("deepseek/deepseek-chat", "deepseek-chat", False),
        ("anthropic.claude-v2:1", "anthropic.claude-v2", False),
        ("GPT-4o", "gpt-4o", False),
        ("gpt-4o", "gpt-4o-mini", True),
        ("gpt-4o", "gpt-4o-mini-2024-07-18", True),
        ("deepseek-v3.2", "deepseek-chat", True),
        ("claude-3-5-sonnet", "claude-3-7-sonnet", True),
        ("gpt-4", "gpt-3.5-turbo", True),
        ("qwen3-32b", "qwen3-8b", True),
    ],
)
def test_another_model(requested, served, expected):
    assert substituted(requested, served) == substituted(served, requested) == expected
