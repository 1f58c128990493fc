"""docs/deploying.md names files, commands and waits that there are."""

from __future__ import annotations

import re
import shlex

from tests.deploy.files import ROOT, understood

PAGE = (ROOT / "docs" / "deploying.md").read_text()
MADE = {"deploy/secrets"}  # by the reader


def test_what_it_names_is_there() -> None:
    named = set(re.findall(r"\bdeploy(?:/[\w.-]+)+", PAGE)) | set(
        re.findall(r"`(constraints\.txt|dashboards/[\w./-]+)`", PAGE)
    )
    gone = [
        name
        for name in named
        if not (ROOT / name).exists() and not any(name.startswith(made) for made in MADE)
    ]
    assert len(named) > 6 and not gone


def test_its_commands_are_the_programs() -> None:
    lines = re.findall(
        r"(?:^|[ `/])(tollkeeper (?:key|usage|init|health|reload|instance|ledger)\b[^`\n]*)", PAGE
    )
    assert len(lines) >= 5
    for line in lines:
        understood(shlex.join(shlex.split(line, comments=True)))


def test_the_page_has_every_name_of_a_secret_that_the_files_have() -> None:
    compose = (ROOT / "deploy" / "compose.yaml").read_text()
    for name in re.findall(r"file: \./secrets/(\w+)", compose):
        assert f"deploy/secrets/{name}" in PAGE
