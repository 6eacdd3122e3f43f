"""The units of systemd, and what Prometheus is told."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from app.settings import variable_names
from tests.deploy.composed import COMPOSE, ROOT

UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
MOST_EXPOSED = 2.0  # of systemd's own judgement, 0 to 10


@pytest.fixture
def units(tmp_path: Path) -> list[Path]:
    """With a command that is there: systemd asks for it."""
    made = []
    for unit in UNITS:
        text = unit.read_text(encoding="utf-8").replace("/opt/salience/bin/salience", "/bin/true")
        (tmp_path / unit.name).write_text(text, encoding="utf-8")
        made.append(tmp_path / unit.name)
    return made


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_has_nothing_to_say(units: list[Path]) -> None:
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    for unit in units:
        judged = subprocess.run(
            ["systemd-analyze", "security", "--offline=true", unit], capture_output=True, text=True, check=False
        )
        exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", judged.stdout)
        assert exposure, judged.stderr
        assert float(exposure[1]) <= MOST_EXPOSED


def test_the_units_run_what_compose_runs() -> None:
    commands = {unit.stem: re.findall(r"^ExecStart=\S+ (.+)$", unit.read_text(), re.MULTILINE) for unit in UNITS}
    services = COMPOSE["services"]
    assert commands == {
        "salience": [" ".join(services["api"]["command"])],
        "salience-worker": [" ".join(services["worker"]["command"])],
    }
    for unit in UNITS:
        text = unit.read_text(encoding="utf-8")
        assert "TimeoutStopSec=75s" in text
        assert set(re.findall(r"SALIENCE_\w+(?==)", text)) <= set(variable_names())


def test_a_command_runs_as_the_units_do() -> None:
    script = (ROOT / "deploy" / "systemd" / "salience-run").read_text(encoding="utf-8")
    given = [one.strip('"') for one in re.findall(r'-p ("[^"]+"|\S+)', script)]
    assert len(given) > 8
    for unit in UNITS:
        lines = unit.read_text(encoding="utf-8").replace(" SALIENCE_LOG__FORMAT=json", "").splitlines()
        assert [one for one in given if one not in lines] == [], "a command writes for people"


def test_every_variable_of_the_files_is_a_setting() -> None:
    text = "".join((ROOT / name).read_text(encoding="utf-8") for name in ("Dockerfile", "docker-compose.yml"))
    assert set(re.findall(r"\bSALIENCE_\w+", text)) <= set(variable_names())


def test_prometheus_asks_the_api() -> None:
    said = yaml.safe_load((ROOT / "deploy" / "prometheus.yml").read_text(encoding="utf-8"))
    (job,) = said["scrape_configs"]
    assert job["metrics_path"] == "/metrics"
    assert job["static_configs"] == [{"targets": ["api:8080"]}]
    assert job["authorization"]["credentials_file"] == "/run/secrets/metrics_token"
    assert COMPOSE["services"]["prometheus"]["secrets"] == ["metrics_token"]
    assert COMPOSE["services"]["prometheus"]["profiles"] == ["metrics"]
