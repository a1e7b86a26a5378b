"""docker-compose.yml: pinned, healthy, without root, nothing published that need not be; and it
speaks of settings that exist.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import psycopg
import pytest
import typer.core
import yaml
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic_settings import BaseSettings

from infra.cli import COMMANDS, app
from infra.embedded import Postgres
from streams.settings import StreamsSettings
from triage.settings import TriageSettings
from worklist.settings import WorklistSettings

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ONCE = {name for name, service in SERVICES.items() if service["restart"] == "no"}
OURS = {name for name, service in SERVICES.items() if service["image"].startswith("vigie")}
SETTINGS: dict[str, type[BaseSettings]] = {
    "gateway": StreamsSettings,
    "triage": TriageSettings,
    "topics": StreamsSettings,
    "worklist": WorklistSettings,
    "web": WorklistSettings,
    "migrate": WorklistSettings,
}
#: Which role each address is for, as the secret of its password is named.
DATABASE_SECRETS = {
    "VIGIE_DATABASE": "database_app",
    "VIGIE_DATABASE_OWNER": "database_owner",
    "VIGIE_DATABASE_SEALER": "database_sealer",
}
DOCKERFILE = (ROOT / "infra" / "docker" / "Dockerfile").read_text()

every_service = pytest.mark.parametrize("name", SERVICES)
every_one_of_ours = pytest.mark.parametrize("name", sorted(OURS))


def test_all_parts_are_there() -> None:
    assert {
        "kafka",
        "postgres",
        "gateway",
        "triage",
        "worklist",
        "web",
        "prometheus",
        "grafana",
    } <= SERVICES.keys()
    assert {"topics", "migrate"} == ONCE
    assert set(SETTINGS) == OURS


@every_service
def test_images_are_pinned(name: str) -> None:
    assert re.fullmatch(r"[a-z/-]+:v?\d+\.\d+(\.\d+)?(-[a-z0-9]+)?", SERVICES[name]["image"])


@every_service
def test_services_that_stay_say_whether_they_are_well(name: str) -> None:
    service = SERVICES[name]
    if name in ONCE:
        assert "healthcheck" not in service
        return
    assert service["healthcheck"]["test"][0] == "CMD"
    assert {"interval", "timeout", "retries"} <= service["healthcheck"].keys()


@every_service
def test_services_wait_for_what_they_need(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        assert how["condition"] == (
            "service_completed_successfully" if other in ONCE else "service_healthy"
        )


@every_service
def test_services_have_no_root_no_capability_and_a_bound(name: str) -> None:
    service = SERVICES[name]
    user, _, group = service["user"].partition(":")
    assert int(user) > 0
    assert group.isdigit()
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service.get("privileged") is None
    assert service.get("read_only") or name == "kafka"  # its start script writes its configuration


@every_service
def test_only_doors_page_and_dashboards_are_published(name: str) -> None:
    ports = SERVICES[name].get("ports", [])
    published = {"gateway": {"2575", "11112"}, "web": {"8080"}, "grafana": {"3000"}}
    assert {port.rsplit(":", 1)[1] for port in ports} == published.get(name, set())
    for port in ports:
        assert port.startswith(("${LISTEN_ADDRESS:-127.0.0.1}:", "127.0.0.1:"))
    assert ("doors" in SERVICES[name]["networks"]) == bool(ports)
    assert COMPOSE["networks"]["inside"] == {"internal": True}


def test_no_secret_stands_in_the_file() -> None:
    for secret in COMPOSE["secrets"].values():
        assert secret["file"].startswith("${SECRETS_FOLDER")
        assert ":-" not in secret["file"]  # no default
    for service in SERVICES.values():
        assert set(service.get("secrets", ())) <= COMPOSE["secrets"].keys()
        for key, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|TOKEN|SECRET", key):
                assert key.endswith("_FILE"), key
                assert value.startswith("/run/secrets/")
            assert not re.search(r"://[^/@]*:[^/@]*@", value), key


@every_one_of_ours
def test_each_setting_exists_and_is_taken(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = SERVICES[name]["environment"]
    for key in environment:
        assert key.startswith("VIGIE_")
        assert (
            key.removeprefix("VIGIE_").lower()
            in WorklistSettings.model_fields | TriageSettings.model_fields
        )
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    taken = SETTINGS[name]()
    for key in environment:
        field = key.removeprefix("VIGIE_").lower()
        assert field not in SETTINGS[name].model_fields or field in taken.model_fields_set


@every_one_of_ours
def test_each_command_exists(name: str) -> None:
    words = SERVICES[name]["command"]
    assert words[0] in COMMANDS
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    command = group.get_command(group.make_context("vigie", list(words)), words[0])
    assert command is not None
    command.make_context(words[0], words[1:])  # raises on an option that it does not have


@every_one_of_ours
def test_each_has_the_secrets_and_folders_that_its_settings_name(name: str) -> None:
    service = SERVICES[name]
    environment = service["environment"]
    mounts = {
        mount.split(":")[1] if not mount.startswith("${") else mount.rsplit(":", 2)[1]
        for mount in service["volumes"]
    }
    assert environment["VIGIE_SITE"] in mounts
    if name in {"gateway", "triage"}:
        assert environment["VIGIE_STORE"] in mounts
    if name not in ONCE:
        assert "vigie_keys" in service["secrets"]
        assert environment["VIGIE_KEYS"] == "/run/secrets/vigie_keys"
    addresses = {key: value for key, value in environment.items() if key in DATABASE_SECRETS}
    secrets = set(service.get("secrets", ()))
    assert {secret for secret in secrets if secret.startswith("database")} == {
        DATABASE_SECRETS[key] for key in addresses
    }
    for key, address in addresses.items():
        role = DATABASE_SECRETS[key].replace("database", "vigie")
        assert address == f"postgresql://{role}@postgres:5432/vigie"
    assert ("act_keys" in secrets) == (name in {"web", "worklist"})
    assert ("audit_keys" in secrets) == (name == "worklist") == ("VIGIE_AUDIT_KEYS" in environment)
    assert any(mount.startswith(environment["VIGIE_STATE"]) for mount in service["tmpfs"])


def test_nothing_that_serves_has_the_owners_password_and_nothing_the_superusers() -> None:
    has = {name: set(service.get("secrets", ())) for name, service in SERVICES.items()}
    assert {name for name, secrets in has.items() if "database_owner" in secrets} == {
        "migrate",
        "postgres",
    }
    assert {name for name, secrets in has.items() if "database_password" in secrets} == {"postgres"}
    assert has["web"] == {"vigie_keys", "act_keys", "database_app"}


def run_shell(script: str, folder: Path, **environment: str) -> str:
    """Runs a script of infra/docker with programs of the test's own before the system's."""
    done = subprocess.run(
        ["/bin/sh", str(ROOT / "infra" / "docker" / script), "web"],
        env={"PATH": f"{folder}:/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_service_gives_the_roles_that_it_has_their_passwords(tmp_path: Path) -> None:
    (tmp_path / "database_app").write_text("secret-a")
    (tmp_path / "database_sealer").write_text("secret-s")
    (tmp_path / "vigie").write_text('#!/bin/sh\necho "$@"; cat "$PGPASSFILE"\n')
    (tmp_path / "vigie").chmod(0o755)
    said = run_shell("entrypoint.sh", tmp_path, SECRETS_FOLDER=str(tmp_path))
    assert said.splitlines() == ["web", "*:*:*:vigie_app:secret-a", "*:*:*:vigie_sealer:secret-s"]


def test_the_roles_of_compose_are_those_of_the_database(tmp_path: Path) -> None:
    mounts = SERVICES["postgres"]["volumes"]
    assert "./worklist/sql/roles.sql:/vigie/roles.sql:ro" in mounts
    assert "./infra/docker/roles.sh:/docker-entrypoint-initdb.d/roles.sh:ro" in mounts
    for role in ("owner", "app", "sealer"):
        (tmp_path / f"database_{role}").write_text(f"it's {role}'s")
    with (
        tempfile.TemporaryDirectory(prefix="vigie-pg-") as folder,
        Postgres(Path(folder)) as server,
    ):
        admin = conninfo_to_dict(server.admin)
        run_shell(
            "roles.sh",
            server.programs,
            SECRETS_FOLDER=str(tmp_path),
            ROLES=str(ROOT / "worklist" / "sql" / "roles.sql"),
            POSTGRES_USER="postgres",
            POSTGRES_DB="postgres",
            PGHOST="127.0.0.1",
            PGPORT=str(admin["port"]),
            PGPASSWORD=str(admin["password"]),
        )
        for role in ("owner", "app", "sealer"):
            told = make_conninfo(server.admin, user=f"vigie_{role}", password=f"it's {role}'s")
            psycopg.connect(told).close()


def test_the_pixels_are_read_only_where_they_are_only_read() -> None:
    assert "store:/var/lib/vigie/store:ro" in SERVICES["triage"]["volumes"]
    assert not any(mount.startswith("store:") for mount in SERVICES["web"]["volumes"])
    assert "key_images:/var/lib/vigie/key-images:ro" in SERVICES["web"]["volumes"]


def test_topics_are_made_by_the_code_that_names_them() -> None:
    assert SERVICES["topics"]["command"] == ["topics", "--create"]


def test_what_is_mounted_from_the_repository_is_there() -> None:
    for service in SERVICES.values():
        for mount in service.get("volumes", ()):
            if mount.startswith("./"):
                assert (ROOT / mount.split(":")[0]).exists(), mount


def test_prometheus_asks_the_ports_that_the_services_have() -> None:
    jobs = yaml.safe_load((ROOT / "infra" / "prometheus" / "prometheus.yml").read_text())[
        "scrape_configs"
    ]
    for job in jobs:
        for found in job.get("dns_sd_configs", ()):
            (service,) = found["names"]
            environment = SERVICES[service]["environment"]
            assert str(found["port"]) == environment.get(
                "VIGIE_METRICS_PORT", environment.get("VIGIE_WEB_PORT")
            )


def test_the_image_is_built_from_pins_and_runs_without_root() -> None:
    stages = re.findall(r"^FROM (\S+) AS (\w+)$", DOCKERFILE, re.MULTILINE)
    assert len(stages) == DOCKERFILE.count("\nFROM ")
    assert {image for image, _ in stages} == {"${PYTHON}"}
    assert re.search(r"^ARG PYTHON=python:\d+\.\d+\.\d+-slim-\w+$", DOCKERFILE, re.MULTILINE)
    for line in re.findall(r"pip install .*", DOCKERFILE):
        assert "--no-deps" in line, line
        assert "--require-hashes" in line or "--no-index" in line, line
    last = DOCKERFILE.rsplit("\nFROM ", 1)[1]
    assert "\nUSER 10001:10001\n" in last
    assert "pip install" not in last
    entry = json.loads(re.findall(r"^ENTRYPOINT (.*)$", last, re.MULTILINE)[0])
    assert entry[0] in last.split("ENTRYPOINT")[0]
    locks = {
        service["build"]["args"]["LOCK"] for service in SERVICES.values() if "build" in service
    }
    assert all((ROOT / "infra" / "requirements" / f"{lock}.lock").is_file() for lock in locks)


def test_the_build_backend_of_the_image_is_all_in_the_lock() -> None:
    wanted = re.findall(r"\^\(([^)]*)\)==", DOCKERFILE)[0].split("|")
    lock = (ROOT / "infra" / "requirements" / "dev.lock").read_text()
    assert all(re.search(rf"^{name}==", lock, re.MULTILINE) for name in wanted)
