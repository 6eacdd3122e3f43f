"""The Python of the documentation runs as it stands there."""

from __future__ import annotations

import re

from tests.app.aleph_alpha.conftest import VERSIONS, Deployment
from tests.app.clients.environment import HERE, run_client

DOCUMENT = HERE.parents[2] / "docs" / "embedding-apis.md"


def test_the_examples_print_what_they_should(deployment: Deployment) -> None:
    section = DOCUMENT.read_text(encoding="utf-8").partition("\n## Aleph Alpha\n")[2].partition("\n## ")[0]
    program = "\n".join(re.findall(r"```python\n(.*?)```", section, re.DOTALL))
    environment = {"AA_TOKEN": deployment.token, "AA_HOST": deployment.address}
    for version in VERSIONS:
        done = run_client(version, "-c", program, environment=environment)
        assert (done.stdout, done.stderr) == ("128\nLions eat meat.\n", "")
