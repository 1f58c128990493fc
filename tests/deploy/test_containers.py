"""deploy/Dockerfile and deploy/compose.yaml name what is there: files, ports, commands, settings.

No container is built here; `test_image.py` goes through the steps by hand.
"""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from proxy import __version__
from proxy.cli.health import ANSWER_S
from proxy.config.settings import Settings
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
from tests.support.prometheus import program

DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
UID = "10001"
LEFT_OUT = {"parquet"}  # 50 MB for one format of exports, which another machine can make


def instructions(name: str) -> list[str]:
    """What stands behind each instruction of this name, its continued lines joined."""
    joined = re.sub(r"\\\n\s*", "", DOCKERFILE)
    return re.findall(rf"^{name} (.+)$", joined, re.MULTILINE)


def copied() -> set[str]:
    """What the first stage takes of the repository."""
    sources = [line.split()[:-1] for line in instructions("COPY") if not line.startswith("--")]
    return {name for words in sources for name in words}


def port(listen: str) -> int:
    return int(listen.rpartition(":")[2])


def test_what_is_copied_is_there_and_nothing_else_reaches_the_builder() -> None:
    assert all((ROOT / name).exists() for name in copied())
    rules = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert rules[0] == "*", "a file with keys beside the sources must not get into an image"
    assert {line[1:] for line in rules if line.startswith("!")} == copied()


def test_it_runs_as_a_number_that_owns_the_data_and_as_process_1() -> None:
    assert instructions("USER") == [f"{UID}:{UID}"]
    [made] = [line for line in instructions("RUN") if line.startswith("install ")]
    assert f"--owner {UID} --group {UID} --mode 0700 /data" in made
    assert instructions("VOLUME") == instructions("WORKDIR")[-1:] == ["/data"]
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert last.index("install --directory") < last.index("VOLUME"), (
        "what is done to a volume after it is declared is lost"
    )
    for name in ("ENTRYPOINT", "CMD"):
        [line] = instructions(name)
        assert json.loads(line), "a list: a shell would be process 1 and keep SIGTERM to itself"


def test_its_commands_and_ports_are_the_programs() -> None:
    entry, arguments = (json.loads(instructions(name)[0]) for name in ("ENTRYPOINT", "CMD"))
    assert understood(" ".join([*entry, *arguments])).info_name == "serve"
    [health] = instructions("HEALTHCHECK")
    options, _, command = health.partition(" CMD ")
    assert understood(" ".join(json.loads(command))).params["ready"] is False
    [timeout] = re.findall(r"--timeout=(\w+)", options)
    assert seconds(timeout) > ANSWER_S, "it says itself what is wrong"
    settings = Settings()
    exposed = {int(number) for number in instructions("EXPOSE")[0].split()}
    assert exposed == {port(settings.listen), port(settings.metrics.listen)}


def test_no_image_is_without_a_version() -> None:
    images = [service["image"] for service in compose()["services"].values()]
    images += [line.partition("=")[2] for line in instructions("ARG")]
    assert all(re.search(r"[:-]v?\d+\.\d+|^\d+\.\d+-slim", image) for image in images), images
    assert f"tollkeeper:{__version__}" in images and f"-t tollkeeper:{__version__}" in DOCKERFILE


def test_the_config_of_the_containers_is_valid_and_fits_them(tmp_path: Path) -> None:
    config = DEPLOY / "config.yaml"
    settings = with_secrets(config, tmp_path).settings
    proxy = compose()["services"]["proxy"]
    assert settings.listen.startswith("0.0.0.0:") and settings.metrics.listen.startswith("0.0.0.0:")
    assert f"127.0.0.1:{port(settings.listen)}:{port(settings.listen)}" in proxy["ports"]
    assert f"data:{settings.data_dir}" in proxy["volumes"]
    assert "./config.yaml:/etc/tollkeeper/config.yaml:ro" in proxy["volumes"]
    assert secret_files(config) == {Path("/run/secrets") / name for name in proxy["secrets"]}
    assert seconds(proxy["stop_grace_period"]) > stop_s(settings.drain)
    needed = 2 * settings.inflight_max + 256
    assert proxy["ulimits"]["nofile"] > needed
    commands = re.findall(r"exec proxy (tollkeeper .+)$", config.read_text(), re.MULTILINE)
    assert commands and all(understood(line) for line in commands)


def test_every_file_secret_and_volume_of_compose_is_known() -> None:
    told = compose()
    for service in told["services"].values():
        assert set(service.get("secrets", ())) <= set(told["secrets"])
        for mount in service.get("volumes", ()):
            source = mount.split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).exists() and mount.endswith(":ro"), mount
            else:
                assert source in told["volumes"], mount
        for published in service.get("ports", ()):
            assert published.startswith("127.0.0.1:"), "not for the whole network by default"
    assert (DEPLOY / told["services"]["proxy"]["build"]["context"]).resolve() == ROOT
    assert (ROOT / told["services"]["proxy"]["build"]["dockerfile"]).exists()
    proxy = told["services"]["proxy"]
    assert proxy["read_only"] is True and proxy["cap_drop"] == ["ALL"]
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert "deploy/secrets/" in ignored, "nobody commits a key by mistake"


def test_prometheus_and_grafana_find_each_other(tmp_path: Path) -> None:
    services = compose()["services"]
    ours = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    shipped = yaml.safe_load((ROOT / "dashboards/prometheus/prometheus.yml").read_text())
    [job] = ours["scrape_configs"]
    [[target]] = [each["targets"] for each in job["static_configs"]]
    assert target == f"proxy:{port(Settings().metrics.listen)}"
    job["static_configs"] = shipped["scrape_configs"][0]["static_configs"]
    assert ours == shipped, "they differ in the address alone"
    grafana = yaml.safe_load((DEPLOY / "grafana-datasource.yaml").read_text())
    there = ROOT / "dashboards/grafana/provisioning/datasources/prometheus.yaml"
    [source] = grafana["datasources"]
    assert source["url"] == f"http://prometheus:{services['prometheus']['ports'][0].split(':')[1]}"
    source["url"] = yaml.safe_load(there.read_text())["datasources"][0]["url"]
    assert grafana == yaml.safe_load(there.read_text())
    provider = yaml.safe_load(
        (ROOT / "dashboards/grafana/provisioning/dashboards/tollkeeper.yaml").read_text()
    )
    assert (
        f"../dashboards/grafana:{provider['providers'][0]['options']['path']}:ro"
        in (services["grafana"]["volumes"])
    )


@pytest.mark.whole
def test_promtool_has_no_objection(tmp_path: Path) -> None:
    for mount in compose()["services"]["prometheus"]["volumes"]:
        source, _, target = mount.removesuffix(":ro").partition(":")
        if source.startswith("."):
            (tmp_path / Path(target).name).write_bytes((DEPLOY / source).read_bytes())
    checked = subprocess.run(
        [program("promtool"), "check", "config", str(tmp_path / "prometheus.yml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr


def test_the_image_has_every_extra_that_a_proxy_uses() -> None:
    [install] = [each for each in instructions("RUN") if " install --no-cache-dir" in each]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = set(project["optional-dependencies"]) - {"test", "check"} - LEFT_OUT
    assert set(re.findall(r"\[([\w,]+)\]", install)[0].split(",")) == extras
    for name in LEFT_OUT:
        assert f"`{name}`" in DOCKERFILE, "it says why"
        assert f"`{name}`" in (ROOT / "docs" / "deploying.md").read_text()
