"""What a command imports: its own parts, and not those of the others."""

import importlib
import re
import subprocess
import sys

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
SAY = "from proxy.cli import main; import sys; main({words}, standalone_mode=False); print({heavy} & set(sys.modules))"
HELPS = [
    "", "serve", "demo", "init", "reload", "health", "check", "key", "team", "audit", "usage", "limit", "notify", "record", "price", "ledger",
    "price check", "price rerate",
]  # fmt: skip  # one line of words


@pytest.mark.parametrize("words", HELPS)
def test_help_needs_neither_the_server_nor_a_config(words):
    said = subprocess.run(
        [sys.executable, "-c", SAY.format(words=[*words.split(), "--help"], heavy=HEAVY)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert said.splitlines()[-1] == "set()"


def groups():
    """`main` and the group below it that is lazy too, each with its context."""
    context = click.Context(main)
    yield main, context
    price = main.get_command(context, "price")
    yield price, click.Context(price)


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
    assert "guess_scheme" not in object.__getattribute__(module, "__dict__")
    assert module.guess_scheme({}) == "http"
    assert later(name) is module is importlib.import_module(name)
