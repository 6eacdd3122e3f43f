"""The rules for Prometheus: each goes by metrics that there are, and stands in the documentation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from starlette.testclient import TestClient

from app.main import create_app
from app.operation.admission import HEALTH
from app.settings import load_settings
from app.wiring import Wiring
from embedder.local import LocalEncoder
from tests.deploy.composed import COMPOSE, ROOT

FILE = ROOT / "deploy" / "alerts.yml"
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(FILE.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]
]


@pytest.fixture(scope="module")
def metrics(encoder: LocalEncoder, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a server answers that has one collection and has refused nothing."""
    settings = load_settings(data_dir=tmp_path_factory.mktemp("alerts") / "data")
    with TestClient(create_app(Wiring(settings, encoder=encoder))) as client:
        assert client.post("/v1/collections", json={"name": "goods"}).status_code == 201
        return client.get("/metrics").text


@pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
def test_a_rule_goes_by_metrics_that_there_are(rule: dict[str, Any], metrics: str) -> None:
    there = dict(re.findall(r"^# TYPE (\w+) (\w+)$", metrics, re.MULTILINE))
    named = re.findall(r"\b(salience_\w+)(\{[^}]*\})?(\[\w+\])?", rule["expr"])
    assert named or rule["expr"] == 'up{job="salience"} == 0'
    for name, labels, _ in named:
        assert name in there
        counted = re.search(rf"(rate|increase)\({name}\b", rule["expr"])
        assert bool(counted) == (there[name] == "counter"), name
        for label in re.findall(r"(\w+)(?:=~|!=|=)", labels):
            documented = re.search(rf"^\|[^|]*`{name}`[^|]*\|([^|]*)\|", OPERATE, re.MULTILINE)
            assert documented, name
            assert label in documented[1]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"]["summary"]


OPERATE = (ROOT / "docs" / "operate.md").read_text(encoding="utf-8")


def test_the_documentation_has_every_alarm_and_no_other() -> None:
    names = {rule["alert"] for rule in RULES}
    assert len(names) == len(RULES)
    table = OPERATE.partition("### Alarms")[2].partition("\n## ")[0]
    assert set(re.findall(r"`(Salience\w+)`", table)) == names


def test_checks_of_health_are_no_answers_that_fail_or_succeed() -> None:
    """A /readyz that is a 503 has an alarm of its own, and scrapes would hide the failures where users are few."""
    [expression] = [rule["expr"] for rule in RULES if rule["alert"] == "SalienceServerErrors"]
    left_out = re.findall(r'route!~"([^"]*)"', expression)
    assert len(left_out) == expression.count("salience_requests_total") == 2
    for pattern in left_out:
        assert [path for path in (*HEALTH, "/v1/collections", "other") if re.fullmatch(pattern, path)] == [*HEALTH]


def test_the_prometheus_of_compose_reads_the_rules() -> None:
    said = yaml.safe_load((ROOT / "deploy" / "prometheus.yml").read_text(encoding="utf-8"))
    mounted = dict(volume.split(":")[:2] for volume in COMPOSE["services"]["prometheus"]["volumes"])
    assert [str(Path("/etc/prometheus") / name) for name in said["rule_files"]] == [mounted["./deploy/alerts.yml"]]
    assert {one["job_name"] for one in said["scrape_configs"]} == {"salience"}
