"""Run one reindex under load, with the chosen model and texts."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from bench.command import add_json, tell
from bench.processes import end_when_told
from bench.reindex.course import run
from bench.reindex.texts import Texts, english, mixed
from embedder.loading import Overrides, load_encoder

SHORT = 128  # dimensions of the default model, cut


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.reindex", description=__doc__)
    parser.add_argument("--passages", type=int, default=50_000, metavar="N", help="about; of mixed: documents")
    parser.add_argument("--kills", type=int, default=3, metavar="N", help="of the serving process, by SIGKILL")
    parser.add_argument(
        "--to", default="short", metavar="MODEL", help=f"a model's folder, or short: {SHORT} dimensions of the default"
    )
    parser.add_argument("--texts", choices=("english", "mixed"), default="english")
    parser.add_argument("--share", type=float, default=0.5, help="of the time that the reindex may work")
    parser.add_argument("--seconds", type=float, default=20.0, help="of load, before and after")
    add_json(parser)
    chosen = parser.parse_args(arguments)
    end_when_told()
    texts: Texts = english(chosen.passages) if chosen.texts == "english" else mixed(chosen.passages // 2)
    short = chosen.to == "short"
    folder = "default" if short else str(Path(chosen.to).expanduser())
    environment = {"SALIENCE_MODELS__OTHER__FOLDER": folder}
    if short:
        environment["SALIENCE_MODELS__OTHER__DIMENSION"] = str(SHORT)
    report = run(
        texts,
        environment=environment,
        model="other",
        old=load_encoder(),
        new=load_encoder(folder, name="other", overrides=Overrides(dimension=SHORT if short else None)),
        kills=chosen.kills,
        share=chosen.share,
        seconds=chosen.seconds,
    )
    tell({"to": chosen.to, "texts": chosen.texts, **report}, as_json=chosen.json)


if __name__ == "__main__":
    main()
