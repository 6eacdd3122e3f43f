"""What a user installs: the wheel, outside of the checkout."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
LEFT_BEHIND = shutil.ignore_patterns(".*", "tests", "build", "dist", "*.egg-info", "salience-data", "__pycache__")
COMMAND = "import sys, app; from app.cli.main import run; print(app.__file__, file=sys.stderr); run(sys.argv[1:])"


def test_the_wheel_runs_outside_the_checkout(tmp_path: Path) -> None:
    shutil.copytree(CHECKOUT, tmp_path / "source", ignore=LEFT_BEHIND)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", "dist", "./source"]
    subprocess.run([*pip, *build], cwd=tmp_path, check=True)
    wheel = next((tmp_path / "dist").glob("salience-*.whl"))
    site = tmp_path / "site"
    subprocess.run([*pip, "install", "--no-deps", "--target", str(site), str(wheel)], check=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "texts.jsonl").write_text('{"id": "wolf", "text": "Wolves hunt in packs."}\n')
    assert json.loads(_salience(site, elsewhere, "add", "texts.jsonl", "--json"))["created"] == 1
    found = json.loads(_salience(site, elsewhere, "search", "packs of wolves", "--json"))
    assert [hit["document_id"] for hit in found["hits"]] == ["wolf"]
    assert (elsewhere / "salience-data").is_dir()
    client = "import salience.client as client; print(client.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-c", client], check=True, cwd=elsewhere, env=environment, capture_output=True, text=True
    )
    assert done.stdout.startswith(str(site))
    assert (site / "salience" / "py.typed").is_file()


def _salience(site: Path, folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *arguments],
        check=False,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(str(site)), "the checkout was run, not the wheel"
    return done.stdout
