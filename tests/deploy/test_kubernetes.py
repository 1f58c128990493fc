"""deploy/kubernetes as kubectl puts it together: its parts fit each other, the image and the
program."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from proxy import __version__
from proxy.config.loader import ConfigError
from proxy.config.settings import Settings
from tests.deploy.files import KUBERNETES, ROOT, kustomized, one, secret_files, stop_s, understood
from tests.deploy.files import with_secrets as loaded
from tests.deploy.test_containers import UID, port

CONFIG = KUBERNETES / "base" / "config.yaml"
HEALTH = {"startupProbe": "/healthz", "readinessProbe": "/readyz", "livenessProbe": "/healthz"}


def pod() -> Any:
    return one("StatefulSet")["spec"]["template"]["spec"]


def container() -> Any:
    [found] = pod()["containers"]
    return found


def labels_of_pods() -> dict[str, str]:
    return one("StatefulSet")["spec"]["template"]["metadata"]["labels"]


def within(wanted: dict[str, str], labels: dict[str, str]) -> bool:
    return bool(wanted) and wanted.items() <= labels.items()


def test_every_file_is_taken_and_every_name_in_them_is_there() -> None:
    for kustomization in KUBERNETES.glob("*/kustomization.yaml"):
        told = yaml.safe_load(kustomization.read_text())
        named = {name.removeprefix("../") for name in told["resources"]}
        named |= {
            name for made in told.get("configMapGenerator", ()) for name in made.get("files", ())
        }
        named |= {patch["path"] for patch in told.get("patches", ())}
        there = {path.name for path in kustomization.parent.glob("*.yaml")} - {kustomization.name}
        assert there == named - {"base"}, f"{kustomization}: a file that is not listed does nothing"


def test_the_grace_period_is_above_what_a_stop_takes(tmp_path: Path) -> None:
    drain = loaded(CONFIG, tmp_path).settings.drain
    assert pod()["terminationGracePeriodSeconds"] > stop_s(drain)


def test_the_config_is_valid_and_fits_the_pod(tmp_path: Path) -> None:
    settings = loaded(CONFIG, tmp_path).settings
    ports = {each["name"]: each["containerPort"] for each in container()["ports"]}
    assert settings.listen == f"0.0.0.0:{ports['http']}"
    assert settings.metrics.listen == f"0.0.0.0:{ports['metrics']}"
    assert ports == {"http": port(Settings().listen), "metrics": port(Settings().metrics.listen)}
    mounts = {each["name"]: each["mountPath"] for each in container()["volumeMounts"]}
    assert mounts["data"] == str(settings.data_dir)
    assert mounts["config"] == "/etc/tollkeeper", "where `serve` looks without -c"
    assert {str(path.parent) for path in secret_files(CONFIG)} == {mounts["keys"]}
    assert one("ConfigMap")["data"]["config.yaml"] == CONFIG.read_text()
    [made] = [each for each in pod()["volumes"] if each["name"] == "config"]
    assert made["configMap"]["name"] == one("ConfigMap")["metadata"]["name"] != "tollkeeper"
    [claim] = one("StatefulSet")["spec"]["volumeClaimTemplates"]
    assert claim["metadata"]["name"] == "data"
    [size_gib] = re.findall(r"^(\d+)Gi$", claim["spec"]["resources"]["requests"]["storage"])
    assert int(size_gib) * 2**30 > settings.journal.size_max_bytes
    [most_mib] = re.findall(r"^(\d+)Mi$", container()["resources"]["limits"]["memory"])
    assert int(most_mib) * 2**20 > 2 * settings.bodies.total_max_bytes


def test_commands_in_comments_are_the_programs() -> None:
    texts = [path.read_text() for path in KUBERNETES.glob("*/*.yaml")]
    lines = [line for text in texts for line in re.findall(r" -- (tollkeeper .+)$", text, re.M)]
    assert lines and all(understood(line) for line in lines)


@pytest.mark.parametrize("probe", HEALTH)
def test_probes_ask_what_there_is_at_the_port_for_callers(probe: str) -> None:
    told = container()[probe]
    assert told["httpGet"] == {"path": HEALTH[probe], "port": "http"}


def test_probes_are_patient() -> None:
    def within_s(probe: str) -> int:
        return container()[probe]["periodSeconds"] * container()[probe]["failureThreshold"]

    assert within_s("startupProbe") >= 600, "a start reads the journal and counts from the ledger"
    assert within_s("livenessProbe") >= 60, "a busy process is not a dead one"
    assert within_s("readinessProbe") <= 5


def test_it_runs_as_the_images_user_who_may_write_to_its_volume_alone() -> None:
    user = pod()["securityContext"]
    names = ("runAsUser", "runAsGroup", "fsGroup")
    assert {user[name] for name in names} == {int(UID)} and user["runAsNonRoot"]
    mine = container()["securityContext"]
    assert mine["readOnlyRootFilesystem"] and not mine["allowPrivilegeEscalation"]
    assert mine["capabilities"] == {"drop": ["ALL"]}
    writable = [each["name"] for each in container()["volumeMounts"] if not each.get("readOnly")]
    assert writable == ["data"]
    assert not [each for each in container()["volumeMounts"] if "subPath" in each]
    [keys] = [each["secret"] for each in pod()["volumes"] if "secret" in each]
    assert keys["defaultMode"] == 0o440, "for the group, which is fsGroup"


def test_one_replica_whose_node_can_be_drained(tmp_path: Path) -> None:
    settings = loaded(CONFIG, tmp_path).settings
    assert (settings.quota.url, settings.ledger.url.partition(":")[0]) == ("memory:", "sqlite")
    assert one("StatefulSet")["spec"]["replicas"] == 1, "each would count and book for itself"
    budget = one("PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] == 1 and "minAvailable" not in budget
    assert within(budget["selector"]["matchLabels"], labels_of_pods())


def test_services_reach_the_pods_and_one_of_them_is_scraped() -> None:
    services = [each for each in kustomized("monitoring") if each["kind"] == "Service"]
    named = {each["name"] for each in container()["ports"]}
    for service in services:
        assert within(service["spec"]["selector"], labels_of_pods())
        assert {each["targetPort"] for each in service["spec"]["ports"]} <= named
    monitor = one("ServiceMonitor", overlay="monitoring")
    wanted = monitor["spec"]["selector"]["matchLabels"]
    [scraped] = [each for each in services if within(wanted, each["metadata"]["labels"])]
    [endpoint] = monitor["spec"]["endpoints"]
    assert endpoint["port"] in {each["name"] for each in scraped["spec"]["ports"]}
    assert monitor["metadata"]["namespace"] == scraped["metadata"]["namespace"]
    assert "tollkeeper" in scraped["metadata"]["name"], "the job: TollkeeperDown goes by it"
    assert scraped["spec"]["publishNotReadyAddresses"], "one that is not ready is looked at, too"
    assert one("StatefulSet")["spec"]["serviceName"] == scraped["metadata"]["name"]


def test_the_network_lets_callers_prometheus_names_and_vendors_through() -> None:
    policy = one("NetworkPolicy")["spec"]
    assert within(policy["podSelector"]["matchLabels"], labels_of_pods())
    callers, prometheus = policy["ingress"]
    assert "from" not in callers and callers["ports"] == [{"port": "http"}]
    assert prometheus["from"] and prometheus["ports"] == [{"port": "metrics"}]
    names, vendors = policy["egress"]
    assert "to" not in names and {each["protocol"] for each in names["ports"]} == {"UDP", "TCP"}
    assert vendors["ports"] == [{"port": 443}]


def test_the_image_has_the_programs_version_and_all_is_in_one_namespace() -> None:
    assert container()["image"] == f"tollkeeper:{__version__}"
    namespace = one("Namespace")["metadata"]
    assert namespace["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    others = [each["metadata"] for each in kustomized("monitoring") if each["kind"] != "Namespace"]
    assert {each["namespace"] for each in others} == {namespace["name"]}


def test_several_pods_share_both_stores_and_keep_what_the_base_says(tmp_path: Path) -> None:
    """Each pod's name is its instance's; all else is the base's."""
    config = KUBERNETES / "scale" / "config.yaml"
    stores = {"POSTGRES_APP_PASSWORD": "aa11", "VALKEY_PASSWORD": "bb22"}
    settings = loaded(config, tmp_path, stores).settings
    for missing in stores:
        with pytest.raises(ConfigError, match=missing):
            loaded(config, tmp_path, {k: v for k, v in stores.items() if k != missing})
    shared = (settings.quota.url.partition(":")[0], settings.ledger.url.partition(":")[0])
    assert shared == ("valkey", "postgresql") and settings.instance is None, "the host's name"
    several, single = one("StatefulSet", overlay="scale")["spec"], one("StatefulSet")["spec"]
    assert several["replicas"] > 1 and several["podManagementPolicy"] == "Parallel"
    told = several["template"]["spec"]
    assert "hostNetwork" not in told and "hostname" not in told, "else the names are not the pods'"
    assert told["terminationGracePeriodSeconds"] > stop_s(settings.drain)
    [mine] = told["containers"]
    assert mine.pop("envFrom") == [{"secretRef": {"name": "tollkeeper-stores"}}]
    [base] = single["template"]["spec"]["containers"]
    assert mine == base and several["volumeClaimTemplates"] == single["volumeClaimTemplates"]
    [wanted] = told["affinity"]["podAntiAffinity"].popitem()[1]
    apart = wanted["podAffinityTerm"]["labelSelector"]["matchLabels"]
    assert within(apart, several["template"]["metadata"]["labels"])
    made = one("ConfigMap", overlay="scale")
    assert made["data"]["config.yaml"] == config.read_text()
    [mounted] = [each["configMap"]["name"] for each in told["volumes"] if "configMap" in each]
    assert mounted == made["metadata"]["name"] != one("ConfigMap")["metadata"]["name"]
    keys = {each["name"]: each["mountPath"] for each in mine["volumeMounts"]}["keys"]
    assert {str(path.parent) for path in secret_files(config)} == {keys}
    *before, to_stores = one("NetworkPolicy", overlay="scale")["spec"]["egress"]
    assert before == one("NetworkPolicy")["spec"]["egress"]
    ports = {urlsplit(url).port or 5432 for url in (settings.quota.url, settings.ledger.url)}
    assert {each["port"] for each in to_stores["ports"]} == ports == {5432, 6379}
    page = (ROOT / "docs" / "deploying.md").read_text()
    assert all(f"--from-literal={name}=" in page for name in stores)
    assert all(f"--from-file={path.name}" in page for path in secret_files(config))
