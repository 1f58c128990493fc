"""Gets Prometheus and promtool for the tests where they are not installed: Debian's package,
unpacked without root. `python -m tools.prometheus`.

What is on the PATH is used as it is. Else the package goes to ~/.cache/tollkeeper (or
$XDG_CACHE_HOME/tollkeeper), which outlives a clone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

PROGRAMS = ("prometheus", "promtool")
APT_TIMEOUT_S = 120


def cache(environ: Mapping[str, str]) -> Path:
    """Where the package is unpacked."""
    home = environ.get("XDG_CACHE_HOME") or Path(environ.get("HOME", "/tmp")) / ".cache"
    return Path(home) / "tollkeeper" / "prometheus"


def find(program: str, environ: Mapping[str, str]) -> Path | None:
    """The program where it is installed or was unpacked; None if it is neither."""
    installed = shutil.which(program, path=environ.get("PATH"))
    unpacked = cache(environ) / "usr" / "bin" / program
    return Path(installed) if installed is not None else unpacked if unpacked.exists() else None


def get(environ: Mapping[str, str]) -> None:
    """Downloads and unpacks the package. Raises OSError or subprocess.SubprocessError where that is
    not possible."""
    target = cache(environ)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        directory = Path(scratch)
        try:
            _apt(directory, "download", "prometheus")
        except subprocess.CalledProcessError:
            # The system's lists are missing or old: lists of our own, for which nobody has to be
            # root.
            own = directory / "apt"
            for name in ("state/lists/partial", "cache/archives/partial"):
                (own / name).mkdir(parents=True)
            options = (
                "-o",
                f"Dir::State={own}/state",
                "-o",
                f"Dir::Cache={own}/cache",
                "-o",
                "Dir::State::status=/var/lib/dpkg/status",
            )
            _apt(directory, *options, "update")
            _apt(directory, *options, "download", "prometheus")
        [package] = directory.glob("prometheus_*.deb")
        subprocess.run(
            ["dpkg-deb", "-x", package, directory / "unpacked"], check=True, timeout=APT_TIMEOUT_S
        )
        if target.exists():
            shutil.rmtree(target)
        (directory / "unpacked").rename(target)


def _apt(directory: Path, *arguments: str) -> None:
    subprocess.run(
        ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", *arguments],
        cwd=directory,
        check=True,
        timeout=APT_TIMEOUT_S,
    )


if __name__ == "__main__":
    if not all(find(program, os.environ) for program in PROGRAMS):
        try:
            get(os.environ)
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            sys.exit(f"Prometheus cannot be had here: {error}")
    sys.stdout.write("".join(f"{find(program, os.environ)}\n" for program in PROGRAMS))
