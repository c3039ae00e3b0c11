"""What can be known of the containers' stack without bringing it up: settings, mounts, jobs,
limits, ports, alerts.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import pkgutil
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

import sandbox
import services
from deploy import secrets
from deploy.embedded.postgres import locks_for
from deploy.embedded.programs import MIGRATE, MODULES
from services.schema import SERVICES, RolePasswords
from shared import topics
from shared.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
JOBS = {"keys", "migrate", "topics", "access"}
COMMANDS = {"cli"}
PROGRAMS = set(MODULES)
OBSERVERS = {"probe", "prometheus", "alertmanager", "grafana"}
PRODUCT = (PROGRAMS - OBSERVERS) | JOBS | {"kafka", "postgres"}
PROFILES = {
    "minimal": PRODUCT,
    "observability": PRODUCT | OBSERVERS,
    "load": PRODUCT | OBSERVERS | {"load"},
    "tools": PRODUCT | OBSERVERS | {"kafka-ui"},
}
BROKERS = ("kafka", "kafka-2", "kafka-3")


class Compose(yaml.SafeLoader):
    """YAML with the tags by which an override of compose takes the place of what it would be merged
    with.
    """


class Override(list[str]):
    """A list that takes the place of the one below it."""


Compose.add_constructor("!override", lambda loader, node: Override(loader.construct_sequence(node)))  # type: ignore[arg-type]


def read(path: str) -> Any:
    return yaml.load((ROOT / path).read_text(), Compose)


def dotenv() -> dict[str, str]:
    lines = (ROOT / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def tags() -> dict[str, str]:
    return {name: value for name, value in dotenv().items() if name.endswith("_IMAGE")}


def merged(below: Any, above: Any) -> Any:
    """What compose makes of a part of the file and the same part of an override."""
    if isinstance(below, dict) and isinstance(above, dict):
        return below | {
            key: merged(below[key], value) if key in below else value
            for key, value in above.items()
        }
    return above


def three_brokers() -> dict[str, Any]:
    """The services of the stack under docker-compose.three-brokers.yml."""
    found = dict(CONTAINERS)
    for name, above in read("docker-compose.three-brokers.yml")["services"].items():
        extended = above.get("extends")
        assert extended in (None, {"file": "docker-compose.yml", "service": "kafka"})
        found[name] = merged(found["kafka"] if extended else found[name], above)
    return found


STACK = read("docker-compose.yml")
CONTAINERS: Mapping[str, Any] = STACK["services"]
LASTING = sorted(CONTAINERS.keys() - JOBS - COMMANDS)


def settings_classes() -> set[type[Settings]]:
    """Settings and all of its kinds, found by importing every module that may hold one."""
    for package in (services, sandbox):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if (
                module.name.endswith((".app", ".streams", ".schema", ".settings"))
                and ".cli" not in module.name
            ):
                importlib.import_module(module.name)

    def below(kind: type[Settings]) -> Iterator[type[Settings]]:
        yield kind
        for child in kind.__subclasses__():
            yield from below(child)

    return set(below(Settings))


def known_variables() -> set[str]:
    return {
        f"CROSSBORDER_{field}".upper() for kind in settings_classes() for field in kind.model_fields
    }


def secret_names(container: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Each secret of a container: its source, and the name of the file it becomes."""
    return [
        (s, s) if isinstance(s, str) else (s["source"], s["target"])
        for s in container.get("secrets", [])
    ]


def test_every_variable_is_one_a_settings_class_knows() -> None:
    known = known_variables()
    given = {
        name
        for c in CONTAINERS.values()
        for name in c.get("environment", {})
        if name.startswith("CROSSBORDER_")
    }
    given |= set(re.findall(r"\b(CROSSBORDER_[A-Z_]+)=", (ROOT / "deploy/Dockerfile").read_text()))
    assert given
    assert given <= known


def test_every_secret_becomes_a_file_a_settings_class_reads() -> None:
    known = {name.lower() for name in known_variables()}
    for name, container in CONTAINERS.items():
        for source, target in secret_names(container):
            assert source in STACK["secrets"]
            said = [str(value) for value in container.get("environment", {}).values()]
            named = any(re.search(rf"/run/secrets[/:]{target}\b", value) for value in said)
            assert target in known or named or name == "kafka", (name, target)


def test_no_password_is_in_the_file_and_make_secrets_makes_each(tmp_path: Path) -> None:
    assert (
        {Path(s["file"]).name for s in STACK["secrets"].values()}
        == STACK["secrets"].keys()
        <= set(secrets.NAMES)
    )
    assert secrets.make(tmp_path / "secrets") == list(secrets.NAMES)
    first = {name: (tmp_path / "secrets" / name).read_text() for name in secrets.NAMES}
    assert len(set(first.values())) == len(secrets.NAMES)
    assert (tmp_path / "secrets").stat().st_mode & 0o077 == 0
    assert secrets.make(tmp_path / "secrets") == []
    assert first == {name: (tmp_path / "secrets" / name).read_text() for name in secrets.NAMES}
    variables = [name for c in CONTAINERS.values() for name in c.get("environment", {})]
    assert {v for v in variables if "PASSWORD" in v} == {
        "POSTGRES_PASSWORD_FILE",
        "GF_SECURITY_ADMIN_PASSWORD__FILE",
    }
    assert "secrets" not in (ROOT / ".dockerignore").read_text().replace("keys and secrets", "")
    assert "/secrets/" in (ROOT / ".gitignore").read_text().split()


def test_each_service_logs_in_with_a_password_that_migrate_sets() -> None:
    set_by_migrate = dict(secret_names(CONTAINERS["migrate"]))
    for service in SERVICES:
        assert (f"postgres_{service}", "crossborder_postgres_password") in secret_names(
            CONTAINERS[service]
        )
        assert set_by_migrate[f"postgres_{service}"] == f"crossborder_{service}_postgres_password"
        assert f"{service}_postgres_password" in RolePasswords.model_fields
    for name in ("migrate", "cli"):
        assert ("postgres_admin", "crossborder_postgres_password") in secret_names(CONTAINERS[name])


def test_every_mounted_file_exists_and_every_volume_is_named() -> None:
    for name, container in CONTAINERS.items():
        for mount in container.get("volumes", []):
            source = mount.split(":")[0]
            if source.startswith("."):
                found = ROOT / source
                assert found.is_file() or any(found.iterdir()), (name, source)
                assert mount.endswith(":ro"), (name, source)
            else:
                assert source in STACK["volumes"], (name, source)
    used = {m.split(":")[0] for c in CONTAINERS.values() for m in c.get("volumes", [])}
    assert used >= STACK["volumes"].keys()


def test_all_that_must_outlive_a_container_is_on_a_named_volume() -> None:
    assert "kafka:/var/lib/kafka/data" in CONTAINERS["kafka"]["volumes"]
    assert CONTAINERS["kafka"]["environment"]["KAFKA_LOG_DIRS"] == "/var/lib/kafka/data"
    assert "postgres:/var/lib/postgresql" in CONTAINERS["postgres"]["volumes"]
    assert "sandbox:/state" in CONTAINERS["sandbox"]["volumes"]


def test_keys_are_written_by_one_job_and_never_seen_by_the_outside_parties() -> None:
    mounts = {
        name: [m for m in c.get("volumes", []) if m.startswith("keys:")]
        for name, c in CONTAINERS.items()
    }
    assert {name for name, found in mounts.items() if found} == {"keys", *SERVICES}
    assert mounts["keys"] == ["keys:/keys"]
    assert all(mounts[service] == ["keys:/keys:ro"] for service in SERVICES)


def test_every_job_is_awaited_and_awaited_to_its_end() -> None:
    waited: dict[str, set[str]] = {}
    for name in [*LASTING, *JOBS]:
        for other, condition in CONTAINERS[name].get("depends_on", {}).items():
            wanted = "service_completed_successfully" if other in JOBS else "service_healthy"
            assert condition == {"condition": wanted}, (name, other)
            waited.setdefault(other, set()).add(name)
    assert waited.keys() == {"kafka", "postgres", "prometheus", *JOBS}
    for service in SERVICES:
        assert CONTAINERS[service]["depends_on"].keys() == {"kafka", "postgres", *JOBS}


@pytest.mark.parametrize("name", LASTING)
def test_a_lasting_container_is_checked_limited_and_restarted(name: str) -> None:
    container = CONTAINERS[name]
    assert container["healthcheck"]["test"]
    assert container["restart"] == "unless-stopped"


def started(profile: str) -> set[str]:
    return {name for name, c in CONTAINERS.items() if profile in c.get("profiles", [profile])}


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_starts_what_it_says_and_all_that_this_waits_for(profile: str) -> None:
    names = started(profile)
    assert names == PROFILES[profile]
    for name in names:
        assert CONTAINERS[name].get("depends_on", {}).keys() <= names, name
        assert {source for source, _ in secret_names(CONTAINERS[name])} <= STACK["secrets"].keys()
    adopted = {other for name in names for other in CONTAINERS[name].get("depends_on", {})}
    assert adopted >= JOBS & names, "a job nobody waits for makes `up --wait` fail when it ends"


def test_without_a_word_everything_but_the_extras_starts() -> None:
    assert dotenv()["COMPOSE_PROFILES"] == "observability"
    assert {p for c in CONTAINERS.values() for p in c.get("profiles", [])} == PROFILES.keys() - {
        "minimal"
    } | COMMANDS


def test_every_variable_of_compose_is_in_dotenv_and_used() -> None:
    text = "".join(
        (ROOT / name).read_text()
        for name in ("docker-compose.yml", "docker-compose.three-brokers.yml")
    )
    # A doubled dollar is Kafka's own way to name a secret.
    asked = re.findall(r"(?<!\$)\$\{(\w+)([^}]*)\}", text)
    assert {how for _, how in asked} == {":?is set in .env"}
    assert {name for name, _ in asked} == dotenv().keys() - {"COMPOSE_PROFILES"}


def test_one_container_builds_the_image_and_is_there_before_the_others() -> None:
    ours = {name for name, c in CONTAINERS.items() if c["image"].startswith("${CROSSBORDER_IMAGE")}
    assert [name for name in ours if "build" in CONTAINERS[name]] == ["keys"]
    assert {CONTAINERS[name]["pull_policy"] for name in ours} == {"never"}
    assert all("keys" in started(profile) for profile in PROFILES)


@pytest.mark.parametrize("name", sorted(CONTAINERS))
def test_a_container_has_little_room_and_few_rights(name: str) -> None:
    container = CONTAINERS[name]
    assert re.fullmatch(r"\d+[MG]", container["deploy"]["resources"]["limits"]["memory"])
    assert container["cap_drop"] == ["ALL"]
    assert container["security_opt"] == ["no-new-privileges:true"]
    assert container["logging"]["options"].keys() == {"max-size", "max-file"}
    assert container["read_only"] is True
    assert not container.get("privileged")


def test_ports_are_open_to_this_machine_only() -> None:
    ports = [port for c in CONTAINERS.values() for port in c.get("ports", [])]
    assert ports
    assert all(str(port).startswith("127.0.0.1:") for port in ports)
    assert len(ports) == len(set(ports))
    assert not any("ports" in CONTAINERS[name] for name in SERVICES), (
        "a fixed port would forbid a second replica"
    )


def test_images_are_pinned_and_ours_has_the_release_in_its_tag() -> None:
    assert {c["image"] for c in CONTAINERS.values()} == {
        f"${{{n}:?is set in .env}}" for n in tags() if n != "PYTHON_IMAGE"
    }
    for image in tags().values():
        assert re.search(r":v?\d+\.\d+(\.\d+)?(-[a-z-]+)?$", image), image
    release = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert release is not None
    assert tags()["CROSSBORDER_IMAGE"] == f"crossborder:{release[1]}"
    assert (
        f"ARG PYTHON_IMAGE={tags()['PYTHON_IMAGE']}\n" in (ROOT / "deploy/Dockerfile").read_text()
    )


def test_the_containers_run_what_the_embedded_stack_runs() -> None:
    ours = {name: CONTAINERS[name]["command"] for name in PROGRAMS}
    assert ours == {name: [module] for name, module in MODULES.items()}


def named_modules() -> set[str]:
    """Return every module that a container, the image, the Makefile or the embedded stack starts by
    name.
    """
    overrides = ("docker-compose.yml", "docker-compose.three-brokers.yml", "docker-compose.tls.yml")
    texts = [(ROOT / name).read_text() for name in (*overrides, "deploy/Dockerfile", "Makefile")]
    product = r"((?:services|shared|sandbox|deploy|tests)(?:\.\w+)*)"
    by_option = {
        name for text in texts for name in re.findall(rf"-m,? {product}", text.replace('"', ""))
    }
    by_container = {module for name in overrides for module in commands_of(read(name))}
    return by_option | by_container | set(MODULES.values())


def commands_of(stack: Mapping[str, Any]) -> Iterator[str]:
    """Return the first word of each command that an image of ours runs: a module."""
    for name, above in stack["services"].items():
        container = CONTAINERS.get(name, {}) | above
        ours = container.get("image", "").startswith("${CROSSBORDER_IMAGE")
        if ours and "entrypoint" not in container and "command" in above:
            yield above["command"][0]


def exists(module: str) -> bool:
    spec = importlib.util.find_spec(module)
    return spec is not None and (
        spec.submodule_search_locations is None
        or importlib.util.find_spec(f"{module}.__main__") is not None
    )


def test_every_module_that_is_started_by_name_exists() -> None:
    modules = named_modules()
    assert {"sandbox", "deploy.health", "deploy.load", "services"} <= modules
    assert not {module for module in modules if not exists(module)}
    assert not exists("sandbox.nothing")


def test_every_name_that_the_migrating_child_imports_exists() -> None:
    imported = [
        node for node in ast.walk(ast.parse(MIGRATE[2])) if isinstance(node, ast.ImportFrom)
    ]
    assert imported
    for node in imported:
        for alias in node.names:
            assert importlib.util.find_spec(f"{node.module}.{alias.name}"), alias.name


def test_every_package_of_the_product_is_shipped() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    packages |= {name for name in ("services", "shared") if (ROOT / name).is_dir()}
    hatch = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"][
        "targets"
    ]
    image = (ROOT / "deploy/Dockerfile").read_text()
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    for name in packages:
        assert name in hatch["wheel"]["packages"]
        assert name in hatch["sdist"]["include"]
        assert f"COPY {name} {name}\n" in image
        assert f"!{name}" in allowed


def test_the_image_is_locked_and_not_root() -> None:
    text = (ROOT / "deploy/Dockerfile").read_text()
    assert re.search(r"^USER 10001:10001$", text, re.MULTILINE)
    installs = re.findall(r"pip install (.*)", text)
    assert installs
    assert all("--require-hashes" in line or "--no-index" in line for line in installs)
    assert "--mount" not in text, "the legacy builder does not know it"
    copied = {
        word
        for line in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE)
        for word in line.split()
    }
    allowed = {
        line[1:]
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)


@pytest.mark.parametrize("lock", ["requirements.txt", "requirements-dev.txt"])
def test_every_dependency_is_locked(lock: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = list(project["dependencies"])
    if lock == "requirements-dev.txt":
        wanted += project["optional-dependencies"]["dev"]
    locked = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / lock).read_text(), re.MULTILINE))
    names = {re.split(r"[<>=;\[ ]", line)[0].lower().replace("_", "-") for line in wanted}
    assert names <= locked, "run `make lock`"


def test_the_broker_takes_the_messages_and_makes_no_topics() -> None:
    given = CONTAINERS["kafka"]["environment"]
    assert given["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    assert (
        given["KAFKA_MESSAGE_MAX_BYTES"]
        == given["KAFKA_REPLICA_FETCH_MAX_BYTES"]
        == topics.MESSAGE_BYTES_MAX
    )
    assert given["KAFKA_NUM_PARTITIONS"] == topics.PARTITIONS
    assert all(value == 1 for name, value in given.items() if name.endswith("REPLICATION_FACTOR"))


def test_three_brokers_hold_every_record_three_times_and_acknowledge_it_twice() -> None:
    stack = three_brokers()
    for name in BROKERS:
        given = stack[name]["environment"]
        assert all(value == 3 for key, value in given.items() if key.endswith("REPLICATION_FACTOR"))
        assert all(
            value == 2
            for key, value in given.items()
            if key.endswith(("_MIN_ISR", "MIN_INSYNC_REPLICAS"))
        )
        assert f"{given['KAFKA_NODE_ID']}@{name}:29093" in given[
            "KAFKA_CONTROLLER_QUORUM_VOTERS"
        ].split(",")
        assert given["KAFKA_ADVERTISED_LISTENERS"].startswith(
            f"INSIDE://{name}:19092,OUTSIDE://127.0.0.1:"
        )
        (port,) = stack[name]["ports"]
        assert given["KAFKA_ADVERTISED_LISTENERS"].endswith(port.removesuffix(":9092"))
        assert len(given["KAFKA_CONTROLLER_QUORUM_VOTERS"].split(",")) == len(BROKERS)
        assert stack[name]["volumes"] == [
            f"{name}:/var/lib/kafka/data",
            *CONTAINERS["kafka"]["volumes"][1:],
        ]
    assert len({stack[name]["environment"]["KAFKA_NODE_ID"] for name in BROKERS}) == len(BROKERS)
    ports = [port for c in stack.values() for port in c.get("ports", [])]
    assert len(ports) == len(set(ports))
    assert stack["topics"]["command"] == ["services", "topics", "--replicas", "3"]
    assert stack["topics"]["depends_on"].keys() == set(BROKERS)
    bootstrap = ",".join(f"{name}:19092" for name in BROKERS)
    told = {
        name: c["environment"].get("CROSSBORDER_KAFKA")
        for name, c in stack.items()
        if "environment" in c
    }
    assert {name: found for name, found in told.items() if found not in (None, bootstrap)} == {}
    assert stack["kafka-ui"]["environment"]["KAFKA_CLUSTERS_0_BOOTSTRAPSERVERS"] == bootstrap
    override = read("docker-compose.three-brokers.yml")
    assert override["name"] != STACK["name"], "the data of one broker must not become that of three"
    assert override["volumes"].keys() == {"kafka-2", "kafka-3"}


def test_with_tls_every_client_and_every_server_is_told() -> None:
    override = read("docker-compose.tls.yml")
    found = {name: merged(CONTAINERS[name], above) for name, above in override["services"].items()}
    for name, container in CONTAINERS.items():
        given = container.get("environment", {})
        told = found.get(name, {}).get("environment", {})
        if "CROSSBORDER_KAFKA" in given:
            assert told["CROSSBORDER_KAFKA_SECURITY_PROTOCOL"] == "SASL_SSL", name
            assert told["CROSSBORDER_KAFKA_CA"] == "/run/secrets/tls_ca", name
            assert "tls_ca" in override["services"][name]["secrets"], name
        if "CROSSBORDER_POSTGRES" in given:
            assert told["CROSSBORDER_POSTGRES"].startswith(
                given["CROSSBORDER_POSTGRES"] + "?sslmode=verify-full&"
            ), name
    plain = CONTAINERS["kafka"]["environment"]["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"]
    assert found["kafka"]["environment"]["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"] == plain.replace(
        "_PLAINTEXT", "_SSL"
    )
    assert CONTAINERS["kafka"]["volumes"][2].endswith(":/health.properties:ro")
    (health,) = override["services"]["kafka"]["volumes"]
    assert health.endswith(":/health.properties:ro")
    assert "security.protocol=SASL_SSL" in (ROOT / health.split(":")[0]).read_text()
    (rights,) = override["services"]["postgres"]["volumes"]
    assert rights == "./deploy/postgres/pg_hba-tls.conf:/pg_hba.conf:ro"
    assert "-chba_file=/pg_hba.conf" in override["services"]["postgres"]["entrypoint"][2]
    lines = [
        line.split()
        for line in (ROOT / rights.split(":")[0]).read_text().splitlines()
        if not line.startswith("#")
    ]
    assert [
        line for line in lines if line[0] != "local" and line[3] not in {"127.0.0.1/32", "::1/128"}
    ] == [["hostssl", "all", "all", "all", "scram-sha-256"]], (
        "from outside by TLS and password only"
    )
    assert {s["file"].removeprefix("./secrets/tls/") for s in override["secrets"].values()} == {
        "ca.crt",
        *(f"{server}.pem" for server in secrets.HOSTS),
    }


def test_prometheus_looks_for_every_program() -> None:
    (job,) = [
        j
        for j in read("deploy/prometheus/prometheus.yml")["scrape_configs"]
        if j["job_name"] == "crossborder"
    ]
    (found,) = job["dns_sd_configs"]
    assert set(found["names"]) == PROGRAMS
    assert f"CROSSBORDER_METRICS_PORT={found['port']}" in (ROOT / "deploy/Dockerfile").read_text()
    missing = next(r["expr"] for r in alerts() if r["alert"] == "CrossborderProgramMissing")
    assert set(re.findall(r'program="(\w+)"', missing)) == PROGRAMS


def alerts() -> list[dict[str, Any]]:
    return [
        rule for group in read("deploy/prometheus/alerts.yml")["groups"] for rule in group["rules"]
    ]


def test_the_lock_table_has_room_for_the_batches_of_as_many_processes_as_can_log_in() -> None:
    said = dict(
        each.removeprefix("-c").split("=", 1)
        for each in CONTAINERS["postgres"]["command"]
        if each.startswith("-c")
    )
    batch = int(dotenv()["CROSSBORDER_BATCH_RECORDS"])
    assert batch == Settings.model_fields["batch_records"].default
    assert said["max_locks_per_transaction"] == "${POSTGRES_MAX_LOCKS:?is set in .env}"
    assert int(dotenv()["POSTGRES_MAX_LOCKS"]) == locks_for(batch, int(said["max_connections"]))
    for name in SERVICES:
        assert (
            CONTAINERS[name]["environment"]["CROSSBORDER_BATCH_RECORDS"]
            == "${CROSSBORDER_BATCH_RECORDS:?is set in .env}"
        )
