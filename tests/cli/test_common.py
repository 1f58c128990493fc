"""What holds for every command: help with an example, `-c` everywhere, exit codes."""

import sys

import click
import pytest
from click.testing import CliRunner

from proxy import __version__
from proxy.cli import common, main
from tests.ledger.samples import make_id, make_record


def commands(group: click.Group = main, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The words of every command that does something."""
    found, context = [], click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None and command.name == name
        found += (
            commands(command, (*path, name))
            if isinstance(command, click.Group)
            else [(*path, name)]
        )
    return found


def test_the_commands():
    assert commands() == [
        ("audit", "list"), ("audit", "verify"), ("check",), ("demo",), ("health",), ("init",), ("instance", "forget"), ("instance", "list"),
        ("key", "create"), ("key", "edit"), ("key", "hash"), ("key", "import"), ("key", "list"), ("key", "resume"), ("key", "revoke"), ("key", "rotate"), ("key", "show"), ("key", "suspend"),
        ("ledger", "adjust"), ("ledger", "anchor"), ("ledger", "archive"), ("ledger", "backup"), ("ledger", "copy"), ("ledger", "erase-user"), ("ledger", "export"), ("ledger", "migrate"), ("ledger", "push"), ("ledger", "rebuild"), ("ledger", "reconcile"), ("ledger", "replay"), ("ledger", "seal"), ("ledger", "status"), ("ledger", "verify"), ("limit", "credit"), ("limit", "credits"), ("limit", "list"), ("limit", "refusals"), ("notify", "list"), ("notify", "test"), ("price", "check"), ("price", "import"), ("price", "list"), ("price", "rerate"), ("price", "show"), ("price", "what-if"),
        ("record", "proof"), ("record", "show"), ("reload",), ("serve",), ("statement", "close"), ("statement", "list"), ("statement", "show"), ("statement", "verify"),
        ("team", "create"), ("team", "edit"), ("team", "list"), ("team", "resume"), ("team", "revoke"), ("team", "show"), ("team", "suspend"), ("usage",),
    ]  # fmt: skip


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_help_has_an_example(call, words):
    result = call(*words, "--help")
    assert call(*words, "-h").stdout == result.stdout
    assert result.exit_code == 0
    assert f"tollkeeper {' '.join(words)}" in result.output.partition("Example")[2]


@pytest.mark.parametrize("group", sorted({words[0] for words in commands() if words[1:]}))
def test_a_groups_list_has_each_commands_sentence_to_its_end(call, group):
    listed = call(group, "--help").output.partition("Commands:")[2]
    assert listed and "..." not in listed


@pytest.mark.parametrize(
    "words",
    # A health check needs no config, which can be wrong while the process is well.
    [words for words in commands() if words not in (("demo",), ("health",), ("init",))],
    ids=" ".join,
)
def test_the_config_may_be_named_after_every_command(call, words):
    assert "-c, --config FILE" in call(*words, "--help").output


@pytest.mark.parametrize(
    "words",
    [
        ("usage", "--json"),
        ("ledger", "anchor"),
        ("ledger", "export"),
        ("ledger", "status"),
        ("ledger", "verify"),
        ("record", "show", make_id(0)),
    ],
    ids=" ".join,
)
def test_a_data_directory_is_read_without_any_config(call, book, home, words):
    data_dir = book(make_record(0))
    (home / "config.yaml").write_text("listen: ${UNSET}\n")
    assert call(*words).exit_code == 1
    result = call(*words, "--data-dir", str(data_dir))
    heads = ("Usage of all time (UTC)", "Records of all time (UTC)", "records: 1,", "head: seq 1,")
    assert (
        result.exit_code,
        [line for line in result.stderr.splitlines() if not line.startswith(heads)],
    ) == (0, [])
    assert call(*words, "--data-dir", str(data_dir), "-c", "config.yaml").exit_code == 1


@pytest.mark.parametrize("words", [("usage", "--nonsense"), ("nonsense",), ("record", "show")])
def test_wrong_usage_is_2(call, words):
    assert call(*words).exit_code == 2


def test_a_name_that_is_empty_or_a_path_is_no_name(call):
    for name in ("", ".", ".."):
        for words in (("key", "show"), ("key", "revoke"), ("team", "suspend")):
            result = call(*words, name)
            assert result.exit_code == 2 and "is no name" in result.stderr, result.output


def test_a_path_that_cannot_be_looked_at_is_told(call):
    result = call("usage", "--data-dir", "x" * 5000)
    assert result.exit_code == 1 and "File name too long" in result.stderr


def test_the_version(call):
    assert call("--version").output == f"tollkeeper, version {__version__}\n"


def test_how_to_call_this_program_again(monkeypatch, tmp_path):
    program = tmp_path / "a b" / "tollkeeper"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(program)])
    monkeypatch.setenv("PATH", "/nowhere")
    assert common.own_command() == f"'{program}'"
    monkeypatch.setenv("PATH", str(program.parent))
    assert common.own_command() == "tollkeeper"
    monkeypatch.setattr(sys, "argv", ["-m"])
    assert common.own_command() == f"{sys.executable} -m proxy"


def test_a_name_that_the_terminal_cannot_show_ends_no_report(book, home):
    """The table escapes it, JSON and csv are in UTF-8 whatever the locale says."""
    book(make_record(0, model_requested="模型"))
    latin = CliRunner(charset="latin-1")
    assert r"\u6a21\u578b" in latin.invoke(main, ["usage"]).stdout
    for form in ("csv", "json"):
        assert "模型".encode() in latin.invoke(main, ["usage", "--format", form]).stdout_bytes


def test_no_name_steers_the_terminal(call, book):
    book(make_record(0, model_requested="\x1b[2J", team="a\nb"))
    for words in (("usage",), ("record", "show", make_id(0))):
        shown = call(*words).stdout
        assert r"\x1b[2J" in shown and r"a\nb" in shown and "\x1b" not in shown
