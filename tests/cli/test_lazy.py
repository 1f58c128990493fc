"""What a command imports: its own parts, and not those of the others."""

import importlib
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import click
import pytest

from proxy.cli import main
from proxy.cli.lazy import LazyGroup, later

# Modules that the ones above bring in; `later` itself puts the ones it waits with into sys.modules.
HEAVY = {
    "aiohttp.client",
    "proxy.config.checks",
    "proxy.core.dialects.registry",
    "proxy.dataplane.gateway",
}
# In one process, one help after the other: starting it takes longer than all of them.
SAY = """
import sys
from proxy.cli import main

for words in {helps}:
    main([*words.split(), "--help"], standalone_mode=False)
    print("heavy:", words, {heavy} & set(sys.modules))
"""
HELPS = [
    "", "serve", "demo", "init", "reload", "health", "check", "key", "team", "audit", "usage", "limit", "notify", "record", "price", "ledger", "instance",
    "price check", "price rerate",
]  # fmt: skip  # one line of words


def test_help_needs_neither_the_server_nor_a_config():
    said = subprocess.run(
        [sys.executable, "-c", SAY.format(helps=HELPS, heavy=HEAVY)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = [line for line in said.splitlines() if line.startswith("heavy:")]
    assert found == [f"heavy: {words} set()" for words in HELPS]


def groups():
    """`main` and the groups below it that are lazy too, each with its context."""
    context = click.Context(main)
    yield main, context
    for name in ("price", "ledger"):
        group = main.get_command(context, name)
        yield group, click.Context(group)


def test_a_groups_help_has_the_first_sentence_of_each_command():
    for group, context in groups():
        assert isinstance(group, LazyGroup)
        for name, (_, said) in group._lazy.items():
            command = group.get_command(context, name)
            assert re.sub(r"\s+", " ", command.help).startswith(said), name


def test_a_module_is_loaded_when_it_is_first_used():
    name = "wsgiref.util"  # nothing here uses it
    sys.modules.pop(name, None)
    module = later(name)
    assert name not in sys.modules
    assert module.guess_scheme({}) == "http"
    assert later(name) is importlib.import_module(name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = module.nothing


def test_threads_that_use_a_module_at_once_all_see_the_whole_of_it(tmp_path, monkeypatch):
    (tmp_path / "loaded_slowly.py").write_text(
        "import threading\nHALF = threading.Event().wait(0.2)\nWHOLE = 1\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    module = later("loaded_slowly")
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda _: module.WHOLE, range(4))) == [1] * 4
    sys.modules.pop("loaded_slowly")
