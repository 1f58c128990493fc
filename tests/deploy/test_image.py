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
from pathlib import Path

import pytest

from tests.deploy.files import DEPLOY, ROOT
from tests.deploy.test_containers import UID, copied
from tests.support.process import READY
from tests.support.waiting import GUARD_S

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


def test_it_serves_as_process_1_with_a_root_that_is_read_only(image: Path, tmp_path: Path) -> None:
    data, etc = tmp_path / "data", tmp_path / "etc"
    data.mkdir(mode=0o700)
    etc.mkdir()
    (etc / "modelmax_api_key").write_text("sk-vendor\n")
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
        [served] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        status = Path(f"/proc/{served}/status").read_text()
        assert "\nCapEff:\t0000000000000000\n" in status
        assert re.search(r"^NSpid:.*\t1$", status, re.MULTILINE), "process 1 of its own"
        assert {path.name for path in data.iterdir()} >= {"journal", "ledger.db", "ledger.key"}
        os.kill(int(served), signal.SIGTERM)
        rest = process.stderr.read()
        assert process.wait(GUARD_S) == 0, rest
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
