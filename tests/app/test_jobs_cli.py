"""Jobs from the command line, and adding that was interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from core.prompts import Prompt, TextItem
from core.records import Embeddings, JobState
from embedder.local import LocalEncoder
from store import Database
from store.catalog import counts, get_collection
from store.jobs import cancel_job, get_job, list_jobs
from tests.app.command import COMMAND
from tests.waiting import until

Salience = Callable[..., tuple[int, str, str]]


@pytest.fixture
def articles(tmp_path: Path) -> Path:
    file = tmp_path / "articles.jsonl"
    file.write_text("".join(json.dumps({"id": n, "text": f"Article number {n}"}) + "\n" for n in range(300)))
    return file


def listed(salience: Salience, *options: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(salience("jobs", "list", "--json", *options)[1])
    return found


@pytest.fixture
def before_encoding(encoder: LocalEncoder, monkeypatch: pytest.MonkeyPatch) -> list[Callable[[list[str]], None]]:
    """What is put in is called with the texts before they are embedded; it may raise."""
    encode, hooks = LocalEncoder.encode, list[Callable[[list[str]], None]]()

    def hooked(self: LocalEncoder, prompts: Sequence[Prompt], *given: Any, **options: Any) -> Embeddings:
        for hook in hooks:
            hook([item.text for prompt in prompts for item in prompt.items if isinstance(item, TextItem)])
        return encode(self, prompts, *given, **options)

    monkeypatch.setattr(LocalEncoder, "encode", hooked)
    return hooks


@pytest.fixture
def interrupted(salience: Salience, articles: Path, before_encoding: list[Callable[[list[str]], None]]) -> Salience:
    """After Ctrl-C in the second batch of adding the articles."""
    calls: list[list[str]] = []

    def interrupt(texts: list[str]) -> None:
        calls.append(texts)
        if len(calls) == 2:
            raise KeyboardInterrupt

    before_encoding.append(interrupt)
    code, out, err = salience("add", str(articles), "-c", "news")
    assert (code, out) == (130, "")
    assert "run the command again to go on" in err
    (left,) = listed(salience)
    assert (left["state"], left["created"], left["pending"], left["worker"]) == ("queued", 128, 172, None)
    return salience


def test_adding_the_same_again_adds_the_rest(interrupted: Salience, articles: Path) -> None:
    code, out, err = interrupted("add", str(articles), "-c", "news")
    assert (code, out) == (0, "news: 172 created, 128 unchanged\n")
    assert "not finished" not in err
    assert [job["state"] for job in listed(interrupted)] == ["done", "cancelled"]
    assert interrupted("add", str(articles), "-c", "news")[1] == "news: 300 unchanged\n"


def test_a_worker_goes_on(interrupted: Salience) -> None:
    assert interrupted("worker", "--once")[0] == 0
    assert [(job["state"], job["created"]) for job in listed(interrupted)] == [("done", 300)]


def test_adding_something_else_mentions_what_is_left(interrupted: Salience, tmp_path: Path) -> None:
    (tmp_path / "lamp.jsonl").write_text('{"id": "lamp", "text": "A lamp."}\n')
    code, out, err = interrupted("add", str(tmp_path / "lamp.jsonl"), "-c", "news")
    assert (code, out) == (0, "news: 1 created\n")
    assert "job 1 of this collection is not finished, 172 documents wait" in err
    code, out, _ = interrupted("jobs", "cancel", "1")
    assert (code, out) == (0, "cancelled job 1; 172 documents were dropped\n")
    assert "not finished" not in interrupted("add", str(tmp_path / "lamp.jsonl"), "-c", "news")[2]


def test_poison_is_reported_and_tried_again(
    salience: Salience, articles: Path, before_encoding: list[Callable[[list[str]], None]]
) -> None:
    def fail(texts: list[str]) -> None:
        if "Article number 7" in texts:
            raise RuntimeError("no kernel")

    before_encoding.append(fail)
    code, out, err = salience("add", str(articles), "-c", "news")
    assert (code, out) == (1, "news: 299 created, 1 failed\n")
    assert "articles.jsonl, line 8 (id '7'): the model cannot embed it" in err
    code, out, _ = salience("jobs", "show", "1")
    assert code == 0
    assert "articles.jsonl, line 8 7: the model cannot embed it" in out
    (error,) = map(json.loads, salience("jobs", "errors", "1")[1].splitlines())
    assert (error["id"], error["line"], error["code"]) == ("7", 8, "model_error")
    before_encoding.clear()
    assert salience("jobs", "retry", "1")[:2] == (0, "job 1: 1 documents wait\n")
    assert [job["id"] for job in listed(salience, "--state", "queued", "-c", "news")] == [1]
    assert salience("add", str(articles), "-c", "news")[1] == "news: 1 created, 299 unchanged\n"


def test_adding_says_what_was_done_where_somebody_cancels_it(
    salience: Salience, articles: Path, tmp_path: Path, before_encoding: list[Callable[[list[str]], None]]
) -> None:
    calls: list[list[str]] = []

    def cancel(texts: list[str]) -> None:
        calls.append(texts)
        if len(calls) == 2:
            with closing(Database.open(tmp_path / "data")) as database:
                until(lambda: _created(database) == 128)  # the batch before is stored meanwhile, by another thread
                with database.write() as session:
                    cancel_job(session, 1, now=time.time())

    before_encoding.append(cancel)
    code, out, err = salience("add", str(articles), "-c", "news")
    assert (code, out) == (1, "")
    assert "job 1 cancelled; of its 300 documents 128 were done, and stay so" in err


def _created(database: Database) -> int:
    with database.read() as session:
        return get_job(session, 1).created


def test_the_table_and_mistakes(interrupted: Salience) -> None:
    out = interrupted("jobs", "list")[1]
    assert "news" in out
    assert "queued" in out
    assert "128" in out
    code, _, err = interrupted("jobs", "show", "99")
    assert (code, "there is no job 99; GET /v1/jobs (salience jobs list) lists the jobs" in err) == (1, True)
    code, _, err = interrupted("jobs", "list", "--state", "lost")
    assert (code, "must be one of queued, running" in err) == (1, True)
    code, _, err = interrupted("jobs", "retry", "1")
    assert (code, "no failed documents" in err) == (1, True)
    assert listed(interrupted, "-c", "other") == []


def test_adding_survives_a_kill(articles: Path, tmp_path: Path) -> None:
    """A real process is killed in the middle; the next one does what is left."""
    articles.write_text("".join(json.dumps({"id": n, "text": f"Article {n}. " * 8}) + "\n" for n in range(400)))
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("SALIENCE_")},
        "SALIENCE_DATA_DIR": str(tmp_path / "data"),
        "SALIENCE_JOBS__LEASE_SECONDS": "1",
    }
    command = [*COMMAND, "add", str(articles), "-c", "news"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    database = Database.open(tmp_path / "data")
    until(lambda: any(job.created for job in jobs(database)), 60)
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    (left,) = jobs(database)
    assert 0 < left.created < 400
    done = subprocess.run(command, env=environment, capture_output=True, check=True, timeout=120)
    assert done.stdout == b"news: %d created, %d unchanged\n" % (400 - left.created, left.created)
    assert [job.state for job in jobs(database)] == [JobState.DONE, JobState.CANCELLED], "nobody takes it up later"
    with database.read() as session:
        assert counts(session, get_collection(session, "news").id).documents == 400
    database.close()


def jobs(database: Database) -> list[Any]:
    with database.read() as session:
        return list_jobs(session, limit=9)
