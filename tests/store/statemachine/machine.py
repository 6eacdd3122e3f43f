"""The state machine: two processes, one data directory, anything in any order, against a dictionary."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from core.errors import StorageBusy
from store import failpoints
from store.verify import verify
from tests.store.library import WORDS, Item
from tests.store.statemachine.oracle import check
from tests.store.statemachine.process import OtherProcess
from tests.store.statemachine.site import Answer, Question, Site, Written, make

LINES = st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join)
METADATA = st.fixed_dictionaries(
    {},
    optional={
        "parity": st.sampled_from([0, 1]),
        "tag": st.sampled_from(["x", "y", ["x", "y"], []]),
        "n": st.sampled_from([0, 1, 2.5, "1", True, [1, "1"], None]),  # of changing kinds
    },
)
IDS = st.sampled_from([f"d{number}" for number in range(12)])
ITEMS = st.builds(Item, id=IDS, text=st.lists(LINES, min_size=1, max_size=3).map("\n".join), metadata=METADATA)
BATCH = st.tuples(st.lists(ITEMS, max_size=4), st.lists(IDS, max_size=2))
CONDITIONS = st.sampled_from(
    [
        {"parity": 0},
        {"tag": "x"},
        {"tag": {"in": ["y", "z"]}},
        {"n": 1},
        {"n": {"gte": 1}},
        {"n": {"lt": "2"}},
        {"n": True},
        {"n": {"exists": True}},
    ]
)
FILTERS = (
    st.none()
    | CONDITIONS
    | CONDITIONS.map(lambda part: {"not": part})
    | st.builds(
        lambda one, other, joined: {joined: [one, other]}, CONDITIONS, CONDITIONS, st.sampled_from(["and", "or"])
    )
)
QUESTIONS = st.builds(
    Question,
    line=LINES,
    factors=st.dictionaries(st.sampled_from([*WORDS, "unknown"]), st.sampled_from([0, 0.5, 1, 4]), max_size=4),
    filter=FILTERS,
    k=st.sampled_from([1, 3, 10, 1000]),
)
WORK = st.sampled_from(["seal", "merge", "compact", "maintain", "checkpoint"])  # that changes nothing anybody sees
MEETINGS = [("seal", "seal"), ("merge", "merge"), ("seal", "merge"), ("merge", "seal"), ("compact", "merge")]
STEPS = st.integers(1, 16)
_LENGTH = "it must be 1"  # of vectors: the library's are of whole numbers
SIDES = st.sampled_from(["here", "there"])


class Machine(RuleBasedStateMachine):
    """`items` is what was acknowledged; everything else asks the store."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="statemachine-"))
        shutil.copytree(_template(), self.folder / "data")
        self.here = Site(self.folder / "data")
        self.there = OtherProcess(self.folder / "data")
        self.items: dict[str, Item] = {}
        self.passages: dict[int, tuple[str, int, str]] = {}  # every one that was ever seen

    @rule(side=SIDES, batch=BATCH)
    def put(self, side: str, batch: tuple[list[Item], list[str]]) -> None:
        """Documents that are new, that replace others, that are the same, and some that go."""
        self._do(side, "put", *batch)
        self.items = _after(self.items, *batch)

    @rule(side=SIDES, id=IDS, metadata=METADATA)
    def other_metadata(self, side: str, id: str, metadata: Mapping[str, Any]) -> None:
        """The text stays: nothing is embedded, no passage changes."""
        if id in self.items:
            changed = Item(id=id, text=self.items[id].text, metadata=metadata)
            self._do(side, "put", [changed], [])
            self.items[id] = changed

    @rule(side=SIDES, question=QUESTIONS)
    def search(self, side: str, question: Question) -> None:
        self._check(self._do(side, "ask", question), question)

    @rule(question=QUESTIONS)
    def search_everywhere(self, question: Question) -> None:
        """Each process has its own segments and tail, also one that has just begun: no bit of the answers differs."""
        fresh = Site(self.folder / "data")
        answers = [self.here.ask(question), self.there.do("ask", question), fresh.ask(question)]
        fresh.close()
        self._check(answers[0], question)
        assert answers[1] == answers[0], "the other process answers otherwise"
        assert answers[2] == answers[0], "a process that has just begun answers otherwise"

    @rule(side=SIDES, work=WORK)
    def maintain(self, side: str, work: str) -> None:
        self._do(side, work)

    @rule(side=SIDES)
    def reopen(self, side: str) -> None:
        self._do(side, "reopen")

    @rule(work=WORK, step=STEPS)
    def crash_at_work(self, work: str, step: int) -> None:
        self.there.die_doing(work, step=step)

    @rule(batch=BATCH, step=STEPS)
    def crash_at_put(self, batch: tuple[list[Item], list[str]], step: int) -> None:
        """Acknowledged: it is there. Not acknowledged: all of it, or nothing."""
        acknowledged = self.there.die_doing("put", *batch, step=step)
        before, after = self.items, _after(self.items, *batch)
        found = self.here.documents()
        if acknowledged is None and found != _rows(after):
            assert found == _rows(before), "a half of an interrupted batch is there"
            return
        assert found == _rows(after), "an acknowledged batch is not there"
        self.items = after

    @rule(batch=BATCH, step=STEPS, works=st.sampled_from(MEETINGS), question=QUESTIONS)
    def work_beside_work(
        self, batch: tuple[list[Item], list[str]], step: int, works: tuple[str, str], question: Question
    ) -> None:
        """Two processes that think they own the maintenance: one does it, and nothing is done twice."""
        self.put("there", batch)
        self._at_step(step, lambda: self._do_unless_busy(works[1]), works[0])
        self._check(self.here.ask(question), question)

    @rule(work=WORK, step=STEPS, question=QUESTIONS)
    def search_beside_work(self, work: str, step: int, question: Question) -> None:
        answers = self._at_step(step, lambda: self.there.do("ask", question), work)[1]
        for answer in answers:
            self._check(answer, question)

    @rule(work=WORK, step=STEPS, batch=BATCH)
    def put_beside_work(self, work: str, step: int, batch: tuple[list[Item], list[str]]) -> None:
        """What is written while a segment is being made is in it, or behind it."""
        _, written = self._at_step(step, lambda: self._do_unless_busy("put", *batch), work)
        if any(written):
            self.items = _after(self.items, *batch)

    @rule(batch=BATCH, step=STEPS, other=BATCH)
    def put_beside_put(
        self, batch: tuple[list[Item], list[str]], step: int, other: tuple[list[Item], list[str]]
    ) -> None:
        mine, others = self._at_step(step, lambda: self._do_unless_busy("put", *other), "put", *batch)
        done = [(mine, batch), *((written, other) for written in others if written)]
        # One that changed nothing has the seq that it found: it comes after the one that made it.
        for _, which in sorted(done, key=lambda one: (one[0].seq, not one[0].changed)):
            self.items = _after(self.items, *which)

    def teardown(self) -> None:
        self.there.kill()
        documents = self.here.documents()
        self.here.close()
        found = [item for item in verify(self.folder / "data").findings if _LENGTH not in item.problem]
        shutil.rmtree(self.folder)
        assert documents == _rows(self.items), "other documents"
        assert not found, found

    def _do(self, side: str, name: str, *arguments: Any) -> Any:
        return getattr(self.here, name)(*arguments) if side == "here" else self.there.do(name, *arguments)

    def _do_unless_busy(self, name: str, *arguments: Any) -> Written | None:
        """There; None where this process holds the lock."""
        try:
            return self.there.do(name, *arguments)
        except StorageBusy:
            return None

    def _at_step(self, step: int, action: Any, name: str, *arguments: Any) -> tuple[Any, list[Any]]:
        """Do it here, and at its `step`th step something else; what both said. Fewer steps: nothing else is done."""
        left, said = step, []

        def observe(_: str) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                said.append(action())

        failpoints.observer = observe
        try:
            return getattr(self.here, name)(*arguments), said
        finally:
            failpoints.observer = None

    def _check(self, answer: Answer, question: Question) -> None:
        check(answer, question, self.items)
        for id_, passage in answer.passages.items():
            assert self.passages.setdefault(id_, passage) == passage, "a passage's id was used again"


def _after(items: Mapping[str, Item], new: list[Item], gone: list[str]) -> dict[str, Item]:
    """Of two documents with one id the last wins; deletions come last."""
    after = {**items, **{item.id: item for item in new}}
    return {id_: item for id_, item in after.items() if id_ not in gone}


def _rows(items: Mapping[str, Item]) -> dict[str, tuple[str, Mapping[str, Any]]]:
    return {id_: (item.text, item.metadata) for id_, item in items.items()}


@cache
def _template() -> Path:
    """A data directory to begin with; made once, as the tables take a while."""
    folder = Path(tempfile.mkdtemp(prefix="statemachine-template-"))
    atexit.register(shutil.rmtree, folder)
    make(folder / "data")
    return folder / "data"
