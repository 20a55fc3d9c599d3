"""The files of deploy/: linted by the tools that are there, and held to what the server has."""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from foreshock.server.settings import Served, Settings
from tests.server.conftest import benign, calibration, served, vectors  # noqa: F401

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
LIMITS = {field.name: field.default for field in fields(Settings)}
UNIT = (DEPLOY / "foreshock.service").read_text()
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
PROXIES = [(DEPLOY / name).read_text() for name in ("nginx.conf", "Caddyfile")]
SUFFIXES = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"], "gauge": [""]}


def run(*command: str | Path) -> str:
    """Runs it, which must succeed; returns what it wrote as warnings."""
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr


def tool(name: str, needed: bool = False) -> str:
    found = shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if not found and needed and os.environ.get("FORESHOCK_CI"):
        pytest.fail(f"{name} is not installed")
    return found or pytest.skip(f"{name} is not installed")


def instructions(name: str) -> list[str]:
    """What follows an instruction of the Dockerfile, each in one line."""
    return re.findall(rf"^{name}\s+(.*)$", DOCKERFILE.replace("\\\n", " "), re.MULTILINE)


def expressions() -> list[str]:
    board = json.loads((DEPLOY / "grafana.json").read_text())
    alerts = yaml.safe_load((DEPLOY / "alerts.yml").read_text())
    shown = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    asked = [one["query"]["query"] for one in board["templating"]["list"] if one["type"] == "query"]
    return shown + asked + [rule["expr"] for group in alerts["groups"] for rule in group["rules"]]


def test_every_metric_and_label_is_one_of_the_servers(served: Served) -> None:  # noqa: F811
    families = list(served.metrics.registry.collect())
    defined = {family.name + suffix for family in families for suffix in SUFFIXES[family.type]}
    used = {name for text in expressions() for name in re.findall(r"\bforeshock_\w+", text)}
    assert used and used <= defined
    with served.metrics.request("chat"):
        pass
    labels = {label for family in served.metrics.registry.collect() for s in family.samples for label in s.labels}
    by = {
        word for text in expressions() for found in re.findall(r"\bby \(([^)]*)\)", text) for word in found.split(", ")
    }
    assert {"rule", "outcome"} <= by <= labels | {"emotion", "kind", "le", "instance"}


def test_every_alert_says_what_and_how_bad() -> None:
    for group in yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"]:
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in ("warning", "critical") and rule["annotations"]["summary"]


def test_the_panels_of_the_dashboard_do_not_overlap() -> None:
    panels = json.loads((DEPLOY / "grafana.json").read_text())["panels"]
    places = [
        (x, y)
        for grid in (panel["gridPos"] for panel in panels)
        for x in range(grid["x"], grid["x"] + grid["w"])
        for y in range(grid["y"], grid["y"] + grid["h"])
    ]
    assert len(places) == len(set(places)) and max(x for x, _ in places) < 24
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_prometheus_knows_where_and_with_which_key() -> None:
    asked: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    assert all((DEPLOY / name).is_file() for name in asked["rule_files"])
    (job,) = asked["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"{LIMITS['host']}:{LIMITS['port']}"]}]
    assert set(job["authorization"]) == {"type", "credentials_file"}, "a key stands in a file of its own"
    assert f'up{{job="{job["job_name"]}"}}' in (DEPLOY / "alerts.yml").read_text()


def test_promtool_takes_the_rules() -> None:
    run(tool("promtool"), "check", "rules", DEPLOY / "alerts.yml")


def test_hadolint_finds_nothing() -> None:
    run(tool("hadolint", needed=True), "--no-color", DEPLOY / "Dockerfile")


def test_the_image_is_pinned_unprivileged_and_tells_its_health() -> None:
    bases = [base.split()[0] for base in instructions("FROM")]
    assert all(re.search(r":\d", base) for base in bases), "a base has a version"
    assert not instructions("ADD")
    (user,) = instructions("USER")
    assert user.isdigit() and user != "0" and f"--uid {user}" in DOCKERFILE
    (health,) = instructions("HEALTHCHECK")
    assert "/health" in health and "curl" not in health
    assert "-c constraints.txt" in DOCKERFILE
    assert not re.search(r"^(ARG|ENV).*(KEY|SECRET|TOKEN|PASSWORD)", DOCKERFILE, re.MULTILINE)
    (models,) = re.findall(r"^MODELS := (\S+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert models in DOCKERFILE


def test_the_build_sees_what_it_copies_and_nothing_else() -> None:
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    seen = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = {name for copy in instructions("COPY") if "--from" not in copy for name in copy.split()[:-1]}
    assert seen == copied and all((ROOT / name).exists() for name in seen)


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    copy = tmp_path / "foreshock.service"
    copy.write_text(UNIT.replace("/opt/foreshock/bin/foreshock", sys.executable))
    said = run(tool("systemd-analyze"), "verify", "--man=no", copy)
    assert copy.name not in said, "an unknown setting is a warning, and the unit then runs without it"


def test_the_unit_is_confined_and_outlasts_the_drain() -> None:
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(UNIT)
    service = unit["Service"]
    for name in ("DynamicUser", "NoNewPrivileges", "PrivateTmp", "ProtectHome"):
        assert service[name] == "yes"
    assert service["ProtectSystem"] == "strict" and service["StateDirectory"] and service["EnvironmentFile"]
    assert not re.search(r"^Environment=.*FORESHOCK_", UNIT, re.MULTILINE), "a unit can be read by everybody"
    assert int(service["TimeoutStopSec"]) > 2 * LIMITS["patience"] + 10, "web server, engine, store"


def test_proxies_wait_and_pass_on_at_once_and_keep_the_metrics_in() -> None:
    for text in PROXIES:
        (wait,) = re.findall(r"(?:read_timeout|header_timeout) (\d+)s", text)
        assert int(wait) > LIMITS["seconds"]
        assert f"{LIMITS['host']}:{LIMITS['port']}" in text
    nginx, caddy = PROXIES
    assert "proxy_buffering off;" in nginx and "flush_interval -1" in caddy
    assert "location = /metrics { return 404; }" in nginx and "respond /metrics 404" in caddy
    assert "client_max_body_size 4m;" in nginx and LIMITS["body"] <= 4 * 2**20
    assert "max_size 4MB" in caddy and LIMITS["body"] == 4_000_000


def test_nginx_takes_its_configuration(tmp_path: Path) -> None:
    nginx, openssl = tool("nginx"), tool("openssl")
    key, certificate = tmp_path / "privkey.pem", tmp_path / "fullchain.pem"
    run(openssl, "req", "-x509", "-nodes", "-newkey", "rsa:2048", "-subj", "/CN=x", "-keyout", key, "-out", certificate)
    own = PROXIES[0].replace("/etc/letsencrypt/live/foreshock.example.org", str(tmp_path))
    whole = tmp_path / "nginx.conf"
    whole.write_text(f"pid {tmp_path}/pid; events {{}} http {{ access_log off;\n{own}\n}}")
    run(nginx, "-t", "-q", "-e", "stderr", "-c", whole)


def test_caddy_takes_its_configuration() -> None:
    run(tool("caddy"), "validate", "--adapter", "caddyfile", "--config", DEPLOY / "Caddyfile")
