"""The files of deploy/ as data, and what the program says of the same things."""

from __future__ import annotations

import functools
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click
import pytest
import yaml

from proxy.admin.app import STOP_S
from proxy.cli import main
from proxy.config.loader import Loaded, load
from proxy.config.settings import DrainSettings
from proxy.server.lifecycle import BOOK_AT_STOP_S

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"


def compose(name: str = "compose.yaml") -> Any:
    return yaml.safe_load((DEPLOY / name).read_text())


def seconds(text: str) -> int:
    """Of `90s`."""
    found = re.fullmatch(r"(\d+)s?", text)
    assert found is not None, text
    return int(found[1])


def stop_s(drain: DrainSettings) -> float:
    """What a stop takes at most, as docs/operating.md says it."""
    return drain.delay_s + drain.timeout_s + BOOK_AT_STOP_S + STOP_S


def with_secrets(
    config: Path, scratch: Path, environ: Mapping[str, str] = MappingProxyType({})
) -> Loaded:
    """What a config of deploy/ says, with the files of its secrets in `scratch`."""
    text = config.read_text()

    def here(match: re.Match[str]) -> str:
        path = scratch / Path(match[2]).name
        path.write_text("sk-vendor\n")
        return f"{match[1]}{path}"

    changed, count = re.subn(r"(_file: )(\S+)", here, text)
    assert count, "the vendors' keys come from files"
    target = scratch / "config.yaml"
    target.write_text(changed)
    return load(target, environ)


def secret_files(config: Path) -> set[Path]:
    return {Path(name) for name in re.findall(r"_file: (\S+)", config.read_text())}


def understood(line: str) -> click.Context:
    """The command that a line names, with its options parsed. Raises UsageError."""
    words = shlex.split(line)
    assert Path(words[0]).name == "tollkeeper", line
    command: click.Command = main
    context = click.Context(main)
    rest = words[1:]
    while isinstance(command, click.Group):
        name, found, rest = command.resolve_command(context, rest)
        assert found is not None and name is not None
        command = found
        context = click.Context(command, info_name=name, parent=context)
    return command.make_context(command.name, rest)


@functools.cache
def kustomized(name: str) -> tuple[dict[str, Any], ...]:
    """The objects of an overlay, as kubectl puts them together; skips where it is not."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not on this machine")
    done = subprocess.run(
        [kubectl, "kustomize", str(KUBERNETES / name)],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin", "KUBECONFIG": "/dev/null", "HOME": "/nonexistent"},
    )
    return tuple(one for one in yaml.safe_load_all(done.stdout) if one)


def one(kind: str, name: str | None = None, overlay: str = "base") -> dict[str, Any]:
    """The object of this kind."""
    [found] = [
        each
        for each in kustomized(overlay)
        if each["kind"] == kind and name in (None, each["metadata"]["name"])
    ]
    return found
