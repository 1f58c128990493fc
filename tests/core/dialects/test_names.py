"""Two names that some reader takes for one come to the same."""

from __future__ import annotations

import pytest

from proxy.core.dialects.names import squeezed


@pytest.mark.parametrize(
    "name",
    [
        "max_tokens",
        "MAX_TOKENS",
        "maxTokens",
        "max-tokens",
        " max_tokens\t",
        "max_tokens\0",
        "max_tokens\0x",
        "max_to\u212aens",
        "\uff4dax_tokens",
    ],
)
def test_spellings_of_one_name(name: str) -> None:
    assert squeezed(name) == "maxtokens"


@pytest.mark.parametrize("name", ["max_token", "max_tokens2", "modèle", "", "\0model"])
def test_other_names(name: str) -> None:
    assert squeezed(name) not in ("maxtokens", "model")
