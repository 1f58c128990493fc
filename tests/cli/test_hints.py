"""A command line that cannot be read: what to do next stands behind the error."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from proxy.cli import main
from proxy.cli.hints import HintingGroup
from tests.ledger.samples import make_record


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
        ("key create \udce9va", "'\\udce9va' is no text in UTF-8: set the terminal to UTF-8."),
    ],
)
def test_an_error_of_usage_says_what_to_do(home: Path, words: str, said: str) -> None:
    result = CliRunner().invoke(main, words.split())
    assert result.exit_code == 2 and said in result.stderr, result.stderr


@pytest.mark.parametrize("words", ["nonsense", "key nonsense", "ledger delete x", "usage --nosuch"])
def test_what_is_not_known_gets_no_hint(words: str) -> None:
    result = CliRunner().invoke(main, words.split())
    assert result.exit_code == 2 and "No such" in result.stderr
    assert "does that" not in result.stderr and "There is" not in result.stderr


@pytest.mark.parametrize("words", ["usage", "ledger export", "statement show 2026-11 --json"])
def test_a_full_disk_behind_standard_output_is_told_in_one_sentence(
    book: Callable[..., Path], home: Path, words: str
) -> None:
    book(make_record(1))
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "proxy", *words.split()],
            cwd=home,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert (
        "Error: cannot write (No space left on device): what was printed is not all" in done.stderr
    )
    assert "Exception ignored" not in done.stderr


def test_an_interrupt_in_the_middle_of_an_import_is_one() -> None:
    """The module is half there, and what needs it raises over the interrupt."""
    group = HintingGroup("some", lazy={})

    @group.command()
    def half() -> None:
        try:
            raise KeyboardInterrupt
        except sys.not_there:  # type: ignore[attr-defined]
            """As where a class is looked up in the module."""

    result = CliRunner().invoke(group, ["half"])
    assert result.exit_code == 1 and result.stderr.strip() == "Aborted!"
