"""What a command imports: its own parts, and not those of the others."""

import subprocess
import sys

import pytest

HEAVY = "from proxy.cli import main; import sys; main({words}, standalone_mode=False); print({{'aiohttp', 'proxy.server.lifecycle'}} & set(sys.modules))"


@pytest.mark.parametrize("words", [["usage"], ["price", "list"]], ids=" ".join)
def test_a_read_starts_without_the_server(words):
    said = subprocess.run(
        [sys.executable, "-c", HEAVY.format(words=[*words, "--help"])],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert said.splitlines()[-1] == "set()"
