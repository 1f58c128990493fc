"""The Dockerfile's steps by hand, and what they make as a container runs it: process 1 of its own,
user 10001 without any right, and a root that is read-only but for /data.

Python is this machine's and its packages are this environment's, since there may be no network.
Containers themselves are the part that is not tried.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.deploy.files import DEPLOY, ROOT
from tests.deploy.test_containers import UID, copied
from tests.support.process import READY
from tests.support.waiting import GUARD_S, until_blocking

pytestmark = pytest.mark.whole

# A user that may do nothing, in namespaces of its own; inside, the directory $0 alone is writable.
OUTSIDE = "unshare --user --map-root-user --mount --pid --fork --kill-child --mount-proc"
INSIDE = f"""
set -e
mount --bind "$0" "$0"
mount -o remount,bind,ro /
exec unshare --user --map-user={UID} --map-group={UID} env -i HOME=/ "$@"
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The environment that the Dockerfile copies into the image."""
    home = tmp_path_factory.mktemp("image")
    source, made = home / "source", home / "tollkeeper"
    for name in copied():
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(ROOT / name, target)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    wheels = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(home)]
    subprocess.run([*pip, "wheel", *wheels, str(source)], check=True, timeout=GUARD_S)
    venv.create(made, with_pip=False)
    [wheel] = home.glob("tollkeeper-*.whl")
    into = ["--python", str(made / "bin/python")]
    subprocess.run(
        [*pip, *into, "install", "--no-deps", "--no-index", str(wheel)], check=True, timeout=GUARD_S
    )
    [packages] = made.glob("lib/python*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return made / "bin"


def namespaces() -> list[str]:
    """The words that give a command namespaces of its own; skips where that is not allowed."""
    words = OUTSIDE.split()
    tried = shutil.which(words[0]) and subprocess.run(
        [*words, "mount", "-o", "remount,bind,ro", "/"], capture_output=True, check=False
    )
    if not tried or tried.returncode:
        pytest.skip("this system gives no namespaces of their own to its users")
    return words


@contextmanager
def contained(image: Path, directory: Path) -> Iterator[subprocess.Popen[str]]:
    """`serve` with the containers' config, which may write to `directory / "data"` alone."""
    data, etc = directory / "data", directory / "etc"
    data.mkdir(mode=0o700)
    etc.mkdir(exist_ok=True)
    text = (DEPLOY / "config.yaml").read_text()
    for said, here in (
        ("0.0.0.0:8790", "127.0.0.1:0"),
        ("0.0.0.0:9464", "127.0.0.1:0"),
        ("data_dir: /data", f"data_dir: {data}\ndrain: {{delay: 0s}}"),
        ("/run/secrets", str(etc)),
    ):
        assert said in text
        text = text.replace(said, here)
    (etc / "config.yaml").write_text(text)
    serve = [str(image / "tollkeeper"), "serve", "-c", str(etc / "config.yaml")]
    process = subprocess.Popen(
        [*namespaces(), "bash", "-c", INSIDE, str(data), *serve],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def served_by(process: subprocess.Popen[str]) -> int:
    """Process 1 inside, by its number outside."""
    [child] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(child)


def test_it_serves_as_process_1_with_a_root_that_is_read_only(image: Path, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "modelmax_api_key").write_text("sk-vendor\n")
    with contained(image, tmp_path) as process:
        assert process.stderr is not None
        printed = ""
        while (found := re.search(READY, printed)) is None:
            line = process.stderr.readline()
            assert line, printed
            printed += line
        asked = subprocess.run(
            [image / "tollkeeper", "health", found[1], "--ready"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (asked.returncode, asked.stdout) == (0, "ready\n"), asked.stderr
        status = Path(f"/proc/{served_by(process)}/status").read_text()
        assert "\nCapEff:\t0000000000000000\n" in status
        assert re.search(r"^NSpid:.*\t1$", status, re.MULTILINE), "process 1 of its own"
        written = {path.name for path in (tmp_path / "data").iterdir()}
        assert written >= {"journal", "ledger.db", "ledger.key"}
        os.kill(served_by(process), signal.SIGTERM)
        rest = process.stderr.read()
        assert process.wait(GUARD_S) == 0, rest


def test_as_process_1_a_start_ends_at_sigterm(image: Path, tmp_path: Path) -> None:
    """The kernel drops the signal where process 1 has no handler; a start can take minutes."""
    key = tmp_path / "etc" / "modelmax_api_key"
    key.parent.mkdir()
    os.mkfifo(key)
    with contained(image, tmp_path) as process:

        def opened() -> int | None:
            """The other end of the pipe, once the start reads its secret from it."""
            try:
                return os.open(key, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:
                assert process.poll() is None
                return None

        writer = until_blocking(lambda: [end for end in [opened()] if end is not None])[0]
        os.kill(served_by(process), signal.SIGTERM)
        assert process.wait(GUARD_S) == 128 + signal.SIGTERM
        os.close(writer)
