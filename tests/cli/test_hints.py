"""A command line that cannot be read: what to do next stands behind the error."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from proxy.cli import main


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("check my.yaml", "(my.yaml). A config file is named with -c: -c my.yaml"),
        ("serve config.yml", "-c config.yml"),
        ("limit credit x -50", "A negative number stands behind two dashes: -- -50"),
        ("backup /x", "There is `tollkeeper ledger backup`."),
        ("suspend bob", "There is `tollkeeper key suspend` and `tollkeeper team suspend`."),
        ("key delete bob", "No such command 'delete'. `tollkeeper key revoke` does that."),
        ("team add lab", "`tollkeeper team create` does that."),
    ],
)
def test_an_error_of_usage_says_what_to_do(words: str, said: str) -> None:
    result = CliRunner().invoke(main, words.split())
    assert result.exit_code == 2 and said in result.stderr, result.stderr


@pytest.mark.parametrize("words", ["nonsense", "key nonsense", "ledger delete x", "usage --nosuch"])
def test_what_is_not_known_gets_no_hint(words: str) -> None:
    result = CliRunner().invoke(main, words.split())
    assert result.exit_code == 2 and "No such" in result.stderr
    assert "does that" not in result.stderr and "There is" not in result.stderr
