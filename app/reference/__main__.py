"""`python -m app.reference docs` writes configuration.md and api.md into the folder."""

from __future__ import annotations

import sys
from pathlib import Path

from app.reference import PAGES

if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs")
    for name, write in PAGES.items():
        (folder / name).write_text(write(), encoding="utf-8")
