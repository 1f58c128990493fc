"""deploy/compose.scale.yaml: two proxies, nginx and both stores fit each other and the program.

No container runs here. What stands in the commands of nginx, Valkey and PostgreSQL is given to the
real programs.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import shutil
import socket
import subprocess
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy import __version__
from proxy.config.loader import ConfigError
from tests.deploy.files import (
    DEPLOY,
    ROOT,
    compose,
    seconds,
    secret_files,
    stop_s,
    understood,
    with_secrets,
)
from tests.deploy.test_containers import port
from tests.support.postgres import postgres, programs
from tests.support.valkey import binary, free_port
from tests.support.waiting import GUARD_S, until_blocking

CONFIG = DEPLOY / "config.scale.yaml"
ENVIRON = {"POSTGRES_APP_PASSWORD": "aa11", "VALKEY_PASSWORD": "bb22"}
NGINX = shutil.which("nginx")


def services() -> dict[str, Any]:
    told: dict[str, Any] = compose("compose.scale.yaml")["services"]
    return told


def proxies() -> dict[str, Any]:
    return {name: each for name, each in services().items() if name.startswith("proxy-")}


def shell(service: str) -> str:
    """What a service's shell is given, after Compose has made `$` of `$$`."""
    told = services()[service]
    assert told["entrypoint"] == ["sh", "-ec"]
    [line] = told["command"]
    return str(line).replace("$$", "$")


def test_proxies_differ_in_name_and_volume_alone() -> None:
    """A name is the instance's: two of one name, or on one volume, would be refused."""
    told = proxies()
    assert len(told) >= 2
    assert all(each.pop("hostname") == name for name, each in told.items())
    own = [each["volumes"].pop(0) for each in told.values()]
    assert len(set(own)) == len(own) and all(each.endswith(":/data") for each in own)
    first, *others = told.values()
    assert all(each == first for each in others)


def test_the_config_is_valid_and_fits_them(tmp_path: Path) -> None:
    settings = with_secrets(CONFIG, tmp_path, ENVIRON).settings
    assert settings.instance is None, "the host's name"
    assert str(settings.listen).startswith("0.0.0.0:") and settings.metrics.listen.startswith(
        "0.0.0.0:"
    )
    single = with_secrets(DEPLOY / "config.yaml", tmp_path).settings
    assert (settings.routes, settings.defaults) == (single.routes, single.defaults)
    for proxy in proxies().values():
        assert str(settings.data_dir) == proxy["volumes"][0].partition(":")[2]
        assert "./config.scale.yaml:/etc/tollkeeper/config.yaml:ro" in proxy["volumes"]
        assert secret_files(CONFIG) == {Path("/run/secrets") / name for name in proxy["secrets"]}
        assert seconds(proxy["stop_grace_period"]) > stop_s(settings.drain)
        assert proxy["ulimits"]["nofile"] > 2 * settings.inflight_max + 256
        assert proxy["read_only"] is True and proxy["cap_drop"] == ["ALL"]
        assert proxy["env_file"] == ["./secrets/stores.env"]
    assert "postgres" in services() and "@postgres/" in settings.ledger.url
    assert "valkey" in services() and "@valkey:6379/" in settings.quota.url
    for missing in ENVIRON:
        with pytest.raises(ConfigError, match=missing):
            with_secrets(CONFIG, tmp_path, {k: v for k, v in ENVIRON.items() if k != missing})
    [line] = re.findall(r"exec proxy-a (tollkeeper .+)$", CONFIG.read_text(), re.MULTILINE)
    understood(line)


def test_every_file_secret_volume_and_network_is_known() -> None:
    told = compose("compose.scale.yaml")
    base = compose()
    page = (ROOT / "docs" / "deploying.md").read_text()
    for name, service in told["services"].items():
        known = service
        if source := service.get("extends"):
            known = {**base["services"][source["service"]], **service}
            assert source == {"file": "compose.yaml", "service": name}
            known["volumes"] = base["services"][name]["volumes"] + service.get("volumes", [])
        assert set(known.get("secrets", ())) <= set(told["secrets"]), name
        assert set(known.get("networks", ["default"])) <= set(told["networks"]), name
        assert set(known.get("depends_on", ())) <= set(told["services"]), name
        for mount in known.get("volumes", ()):
            source = mount.split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).exists() and mount.endswith(":ro"), mount
            else:
                assert source in told["volumes"], mount
        assert all(each.startswith("127.0.0.1:") for each in known.get("ports", ())), name
        assert re.search(r":v?\d+\.\d+", known["image"]), name
    assert proxies()["proxy-a"]["image"] == f"tollkeeper:{__version__}"
    assert told["networks"]["stores"] == {"internal": True}
    assert {name for name, each in told["services"].items() if "build" in each} == {"migrate"}
    assert all(name in page for name in told["secrets"])
    assert all(f"{name}=" in page for name in ENVIRON)


def test_proxies_start_when_the_tables_are_there() -> None:
    line = shell("migrate").rpartition("exec ")[2]
    told = understood(line)
    assert told.info_name == "migrate"
    owner = services()["postgres"]["environment"]
    assert told.params["url"] == (
        f"postgresql://{owner['POSTGRES_USER']}@postgres/{owner['POSTGRES_DB']}"
    )
    roles = (DEPLOY / "postgres-roles.sh").read_text()
    assert f"CREATE ROLE {told.params['role']} LOGIN" in roles
    assert f"postgresql://{told.params['role']}:" in CONFIG.read_text()
    conditions = {"migrate": "service_completed_successfully", "valkey": "service_healthy"}
    for proxy in proxies().values():
        waits = {name: each["condition"] for name, each in proxy["depends_on"].items()}
        assert waits == conditions


def test_postgresql_keeps_its_data_in_the_named_volume() -> None:
    """From 18 on the image has it in a directory of its version, below this one."""
    postgres = services()["postgres"]
    assert int(re.findall(r":(\d+)", postgres["image"])[0]) >= 18
    assert "postgres:/var/lib/postgresql" in postgres["volumes"]


def test_valkey_is_one_that_a_start_accepts(tmp_path: Path) -> None:
    """In the real server: it throws no count away, writes nothing, and wants its password."""
    (tmp_path / "valkey-server").symlink_to(binary())
    number = free_port()
    server = subprocess.Popen(
        ["sh", "-ec", f"{shell('valkey')} --port {number} --bind 127.0.0.1"],
        env={**ENVIRON, "PATH": f"{tmp_path}:/usr/bin:/bin"},
        stdout=subprocess.DEVNULL,
        cwd=tmp_path,
    )
    try:

        def connected() -> list[socket.socket]:
            assert server.poll() is None, "an option is not known"
            try:
                return [socket.create_connection(("127.0.0.1", number), GUARD_S)]
            except OSError:
                return []

        [connection] = until_blocking(connected)
        with connection:
            words = ("PING", "AUTH bb22", "CONFIG GET maxmemory*", "CONFIG GET save", "QUIT")
            connection.sendall("".join(f"{each}\r\n" for each in words).encode())
            told = b"".join(iter(lambda: connection.recv(65_536), b"")).decode().split("\r\n")
    finally:
        server.kill()
        server.wait()
    assert told[0].startswith("-NOAUTH") and told[1] == "+OK"
    value = {name: told[told.index(name) + 2] for name in ("maxmemory", "maxmemory-policy", "save")}
    assert value == {"maxmemory": str(256 * 2**20), "maxmemory-policy": "noeviction", "save": ""}


def test_the_role_of_the_proxies_may_enter_and_owns_nothing() -> None:
    """By psql, whatever signs its password has."""
    server = postgres()
    database = server.database()
    password = "a'b\"c\\d$e"
    environ = {
        "PATH": f"{programs()}:/usr/bin:/bin",
        "PGHOST": "127.0.0.1",
        "PGPORT": str(server.port),
        "POSTGRES_USER": "owner",
        "POSTGRES_DB": database,
        "POSTGRES_APP_PASSWORD": password,
    }
    subprocess.run([DEPLOY / "postgres-roles.sh"], env=environ, check=True, timeout=GUARD_S)
    try:
        [(may, super_, hashed)] = server.sql(
            "SELECT rolcanlogin, rolsuper, rolpassword FROM pg_authid"
            " WHERE rolname = 'tollkeeper_app'"
        )
        assert (may, super_) == (True, False)
        rounds, salt, stored = re.findall(r"^SCRAM-SHA-256\$(\d+):(.+)\$(.+):", str(hashed))[0]
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), b64decode(salt), int(rounds))
        client = hmac.digest(salted, b"Client Key", "sha256")
        assert b64decode(stored) == hashlib.sha256(client).digest(), "it has this password"
    finally:
        server.sql("DROP ROLE IF EXISTS tollkeeper_app")


@pytest.mark.skipif(NGINX is None, reason="nginx is not on this machine")
def test_nginx_has_both_proxies(tmp_path: Path) -> None:
    line = shell("nginx")
    made = tmp_path / "nginx.conf"
    change = line.partition("; exec")[0]
    for said, here in (
        ("/etc/nginx/tollkeeper.conf", str(DEPLOY / "nginx.conf")),
        ("/tmp/nginx.conf", str(made)),
    ):
        assert said in change
        change = change.replace(said, here)
    subprocess.run(["sh", "-ec", change], check=True)
    text = made.read_text()
    servers = re.findall(r"server (proxy-\w+):(\d+) resolve;", text)
    assert {name for name, _ in servers} == set(proxies())
    assert {int(number) for _, number in servers} == {port("0.0.0.0:8790")}
    assert "resolver 127.0.0.11 " in text and "server 127.0.0.1" not in text
    # This machine's nginx can be older than `resolve`: without it, and with addresses.
    text = re.sub(r"resolver [^;]+;", "", text).replace(" resolve;", ";")
    text = re.sub(r"proxy-\w+:", "127.0.0.1:", text).replace(" /tmp/", f" {tmp_path}/")
    made.write_text(text)
    assert NGINX is not None
    done = subprocess.run(
        [NGINX, "-t", "-c", str(made)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    inside = re.findall(r"^ +listen (\d+);", text, re.MULTILINE)
    assert services()["nginx"]["ports"] == [f"127.0.0.1:8790:{inside[0]}"]


def test_prometheus_asks_each_proxy() -> None:
    ours = yaml.safe_load((DEPLOY / "prometheus.scale.yml").read_text())
    single = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    [job] = ours["scrape_configs"]
    [targets] = [each["targets"] for each in job["static_configs"]]
    assert targets == [f"{name}:9464" for name in proxies()]
    job["static_configs"] = single["scrape_configs"][0]["static_configs"]
    assert ours == single, "they differ in the addresses alone"
    assert services()["prometheus"]["volumes"] == [
        "./prometheus.scale.yml:/etc/prometheus/prometheus.yml:ro"
    ]
