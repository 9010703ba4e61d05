"""The cluster files fit their schemas, keep strangers out, and name the tested versions."""

import copy
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster"
SCHEMAS = Path(__file__).parent / "schemas"
RAY_UP = ("own-machines.yaml", "aws-spot.yaml")


def read(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((CLUSTER / name).read_text())
    return document


def manifests() -> dict[str, dict[str, Any]]:
    documents = yaml.safe_load_all((CLUSTER / "kuberay-rayjob.yaml").read_text())
    return {document["kind"]: document for document in documents}


def schema(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((SCHEMAS / name).read_text())
    return found


def pinned(package: str) -> str:
    """The version of a package in constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text()
    match = re.search(rf"^{package}==(.+)$", lines, re.MULTILINE)
    assert match, package
    return match[1]


def pods() -> dict[str, dict[str, Any]]:
    """The pods of the RayJob, `head` and the worker groups by name."""
    cluster = manifests()["RayJob"]["spec"]["rayClusterSpec"]
    groups = {group["groupName"]: group for group in cluster["workerGroupSpecs"]}
    groups["head"] = cluster["headGroupSpec"]
    return {name: group["template"]["spec"] for name, group in groups.items()}


@pytest.mark.parametrize("name", RAY_UP)
def test_ray_up_accepts_the_file(name: str) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(read(name)))


@pytest.mark.parametrize("name", RAY_UP)
def test_ray_up_would_refuse_a_typo(name: str) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = {**read(name), "worker_start_commands": []}
    with pytest.raises(jsonschema.ValidationError, match="worker_start_commands"):
        validate_config(prepare_config(config))


def test_the_rayjob_fits_the_custom_resource_of_kuberay() -> None:
    jsonschema.validate(manifests()["RayJob"], schema("kuberay-rayjob.json"))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "rayClusterSpec", "authOptions", "mode"), "tokens"),
        (("spec", "rayClusterSpec", "headGroupSpec", "template", "spec", "container"), []),
        (("spec", "backOffLimit"), 3),
    ],
)
def test_the_schema_of_the_rayjob_is_strict(path: tuple[str, ...], value: object) -> None:
    job = copy.deepcopy(manifests()["RayJob"])
    parent = job
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(job, schema("kuberay-rayjob.json"))


def test_the_claim_fits_the_schema_of_volume_claims() -> None:
    """The custom resource holds that of a claim's specification: a pod may bring a claim along."""
    whole = schema("kuberay-rayjob.json")
    claims = [part for part in _parts(whole) if {"accessModes", "storageClassName"} <= part.keys()]
    claim = manifests()["PersistentVolumeClaim"]
    assert claim["apiVersion"] == "v1"
    jsonschema.validate(
        claim["spec"],
        {"type": "object", "properties": claims[0], "additionalProperties": False}
        | {"$defs": whole["$defs"]},
    )


def _parts(node: object) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from _parts(value)


def test_the_mlflow_server_fits_the_compose_specification() -> None:
    jsonschema.validate(read("mlflow-server.compose.yaml"), schema("compose-spec.json"))


@pytest.mark.parametrize("name", RAY_UP)
def test_every_node_of_ray_up_wants_the_token_and_keeps_its_dashboard_at_home(name: str) -> None:
    config = read(name)
    starts = [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]
    starting = [command for command in starts if "ray start" in command]
    assert len(starting) == 2
    for command in starting:
        assert re.search(r"export RAY_AUTH_MODE=token .*; ray start", command), command
        assert "RAY_USAGE_STATS_ENABLED=0" in command
    assert "--dashboard-host=127.0.0.1" in starting[0]
    assert "chmod 600 ~/.ray/auth_token" in config["setup_commands"]
    assert "~/.ray/auth_token" in config["file_mounts"]


def test_no_file_opens_a_port_to_every_address() -> None:
    for path in CLUSTER.glob("*.yaml"):
        text = "\n".join(line.split("#")[0] for line in path.read_text().splitlines())
        # The one exception: inside its container, from which loopback alone is published.
        found = [line.strip() for line in text.splitlines() if re.search(r"0\.0\.0\.0", line)]
        inside = ["- --host=0.0.0.0"] if path.name == "mlflow-server.compose.yaml" else []
        assert found == inside, path.name


def test_amazon_nodes_use_a_security_group_of_the_readers() -> None:
    """The group that Ray makes on its own opens SSH to the whole internet."""
    for node in read("aws-spot.yaml")["available_node_types"].values():
        assert node["node_config"]["SecurityGroupIds"]


def test_amazon_workers_are_spot_and_the_head_is_not() -> None:
    config = read("aws-spot.yaml")
    types = config["available_node_types"]
    spot = {"MarketType": "spot"}
    assert types["spot-worker"]["node_config"]["InstanceMarketOptions"] == spot
    assert "InstanceMarketOptions" not in types[config["head_node_type"]]["node_config"]
    assert types["spot-worker"]["max_workers"] <= config["max_workers"]
    assert types["head"]["resources"] == {"CPU": 0}


def test_the_rayjob_authenticates_and_scales_and_keeps_its_run() -> None:
    spec = manifests()["RayJob"]["spec"]
    cluster = spec["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["enableInTreeAutoscaling"]
    assert cluster["autoscalerOptions"]["version"] == "v2"
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    claim = manifests()["PersistentVolumeClaim"]["metadata"]["name"]
    head = pods()["head"]
    volumes = {volume["name"]: volume["persistentVolumeClaim"] for volume in head["volumes"]}
    mounted = head["containers"][0]["volumeMounts"][0]
    assert volumes[mounted["name"]]["claimName"] == claim
    assert re.search(rf"--out {mounted['mountPath']}/\S+$", spec["entrypoint"])


def test_pods_run_without_privileges_and_workers_on_spot_nodes() -> None:
    for pod in pods().values():
        assert pod["securityContext"]["runAsNonRoot"]
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert "memory" in container["resources"]["limits"]
    assert any("spot" in toleration["key"] for toleration in pods()["spot"]["tolerations"])
    assert "tolerations" not in pods()["head"]


def test_the_mlflow_server_is_published_on_loopback_alone_and_has_no_password_of_ours() -> None:
    services = read("mlflow-server.compose.yaml")["services"]
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert published == ["127.0.0.1:5000:5000"]
    assert read("mlflow-server.compose.yaml")["networks"]["inside"]["internal"]
    assert services["database"]["networks"] == ["inside"]
    assert "--allowed-hosts=localhost:5000,127.0.0.1:5000" in services["mlflow"]["command"]
    assert services["database"]["environment"]["POSTGRES_PASSWORD"].startswith(
        "${POSTGRES_PASSWORD:?"
    )
    example = (CLUSTER / "mlflow-server.env.example").read_text()
    assert re.search(r"^POSTGRES_PASSWORD=$", example, re.MULTILINE)
    assert all(service["healthcheck"]["test"] for service in services.values())


def test_images_are_of_the_versions_tested_together() -> None:
    ray = pinned("ray")
    job = manifests()["RayJob"]["spec"]["rayClusterSpec"]
    assert job["rayVersion"] == ray
    assert {c["image"].split(":")[1] for pod in pods().values() for c in pod["containers"]} == {
        f"ray{ray}"
    }
    assert read("aws-spot.yaml")["docker"]["image"] == f"rayproject/ray:{ray}-py311-cpu"
    assert f"FROM rayproject/ray:{ray}-py311-cpu\n" in (CLUSTER / "Dockerfile").read_text()
    mlflow = read("mlflow-server.compose.yaml")["services"]["mlflow"]["image"]
    assert mlflow == f"ghcr.io/mlflow/mlflow:v{pinned('mlflow')}-full"


def test_the_image_holds_all_that_the_package_is_built_from() -> None:
    dockerfile = (CLUSTER / "Dockerfile").read_text()
    copied = re.findall(r"^COPY --chown=\S+ (.+) \S+$", dockerfile, re.MULTILINE)
    for name in " ".join(copied).split():
        assert (ROOT / name).exists(), name
    entrypoint = manifests()["RayJob"]["spec"]["entrypoint"]
    config = re.search(r"run /opt/evomerge/(\S+)", entrypoint)
    assert config
    assert (ROOT / config[1]).is_file()
    assert config[1].split("/")[0] in " ".join(copied).split()


def readme_commands() -> list[str]:
    """The commands of the README's blocks, continued lines joined."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", (CLUSTER / "README.md").read_text(), re.M | re.S)
    return "".join(blocks).replace("\\\n", " ").splitlines()


def test_the_readme_names_files_that_are_there() -> None:
    text = (CLUSTER / "README.md").read_text()
    named = {*re.findall(r"\]\(([^)#]+)\)", text), *re.findall(r"cluster/([\w.-]+)", text)}
    assert {path.name for path in CLUSTER.iterdir()} - {"README.md"} <= named | {
        "mlflow-server.env.example"
    }
    for name in named:
        assert (CLUSTER / name).exists(), name


def test_the_readme_s_commands_are_commands_of_ours() -> None:
    import typer

    from evomerge.cli import app

    ours = typer.main.get_command(app)
    typed = [re.sub(r"^(\w+=\S+ )+", "", line) for line in readme_commands()]
    commands = [shlex.split(line)[1:] for line in typed if line.startswith("evomerge ")]
    assert {words[0] for words in commands} >= {"doctor", "submit", "front", "run"}
    for verb, *arguments in commands:
        ours.commands[verb].make_context(verb, arguments)  # type: ignore[attr-defined]
