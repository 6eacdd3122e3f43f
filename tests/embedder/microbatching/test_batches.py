"""What is computed together, and that nobody feels the others: their lengths, their errors, their leaving."""

from concurrent.futures import Future, ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from core.context import Awaited, awaited
from core.errors import Abandoned
from core.protocols import Priority, RanBatch
from embedder.backbone import Backbone, KeyFactors
from embedder.microbatching import MicroBatcher
from tests.embedder.microbatching.recording import (
    BROKEN,
    LONGEST,
    Interruption,
    Recording,
    in_line,
    text,
    until,
    waiting,
)


def test_a_batch_is_sorted_by_length_and_results_find_their_callers(
    recording: Recording, network: Backbone, callers: ThreadPoolExecutor
) -> None:
    turns = MicroBatcher(recording, 1000)
    several = [[text(5), text(6, 7, 8)], [text(9, 10)], [text(11, 12, 13, 14), text(15)]]
    factors = KeyFactors(values=torch.tensor([1.0, 0.1, 4.0, 1.0]), log_additive=True)
    with recording.held_up():
        running = callers.submit(turns.hidden, [text(4)], None)
        assert recording.entered.acquire(timeout=LONGEST)
        late = []
        for ids in several:
            late.append(callers.submit(turns.hidden, ids, factors if ids is several[1] else None))
            until(lambda: waiting(turns) == len(late) + 1)  # awaited in the same round
    running.result(LONGEST)
    for ids, future in zip(several, late, strict=True):
        alone = network.hidden(ids, factors if ids is several[1] else None)
        assert torch.allclose(future.result(LONGEST), alone, atol=1e-5)
    assert [len(ids) for ids in recording.batches[1]] == [6, 5, 4, 3, 3]
    assert not torch.allclose(late[1].result(), network.hidden(several[1]), atol=1e-3)


def test_two_formulas_of_steering_do_not_share_a_batch(
    recording: Recording, network: Backbone, callers: ThreadPoolExecutor
) -> None:
    turns = MicroBatcher(recording, 1000)
    forms = [KeyFactors(values=torch.tensor([1.0, 3.0, 1.0]), log_additive=additive) for additive in (True, False)]
    with recording.held_up():
        running = callers.submit(turns.hidden, [text(4)], None)
        assert recording.entered.acquire(timeout=LONGEST)
        late = []
        for form in forms:
            late.append(callers.submit(turns.hidden, [text(9)], form))
            until(lambda: waiting(turns) == len(late) + 1)  # awaited in the same round
    running.result(LONGEST)
    for form, future in zip(forms, late, strict=True):
        assert torch.allclose(future.result(LONGEST), network.hidden([text(9)], form), atol=1e-5)
    assert len(recording.batches) == 3


def test_layers_are_shown_in_a_batch_of_their_own(recording: Recording, callers: ThreadPoolExecutor) -> None:
    turns = MicroBatcher(recording, 100)
    with recording.held_up():
        first = callers.submit(turns.hidden, [text(5)], None)
        assert recording.entered.acquire(timeout=LONGEST)
        shown = callers.submit(turns.layers, text(6), None, Priority.INTERACTIVE)
        until(lambda: waiting(turns) == 2)
        last = callers.submit(turns.hidden, [text(7)], None)
        until(lambda: waiting(turns) == 3)
    found = shown.result(LONGEST)
    assert torch.equal(torch.stack(found), torch.stack(recording.layers([text(6)])))
    assert [len(future.result(LONGEST)) for future in (first, last)] == [3, 3]
    assert recording.batches == [[[2, 5, 3]], [[2, 7, 3]]]


def test_every_batch_is_told_to_the_observer(recording: Recording, callers: ThreadPoolExecutor) -> None:
    turns, told = MicroBatcher(recording, 100), list[RanBatch]()
    turns.observe(told.append)
    with recording.held_up():
        first = in_line(turns, callers, [(text(5), Priority.INTERACTIVE)])
        until(lambda: len(recording.batches) == 1)
        others = in_line(turns, callers, [(text(6, 7), Priority.BULK), (text(8), Priority.BULK)])
        assert turns.waiting() == {Priority.INTERACTIVE: 1, Priority.BULK: 2, Priority.NICE: 0}
    for caller in (*first, *others):
        caller.result(LONGEST)
    turns.layers(text(9, 10, 11), None, Priority.NICE)
    assert [(one.priority, one.texts, one.tokens) for one in told] == [
        (Priority.INTERACTIVE, 1, 3),
        (Priority.BULK, 2, 7),
        (Priority.NICE, 1, 5),
    ]
    assert all(one.seconds > 0 for one in told)


def test_an_error_reaches_its_own_caller_only(
    recording: Recording, network: Backbone, callers: ThreadPoolExecutor
) -> None:
    turns = MicroBatcher(recording, 1000)
    with recording.held_up():
        running = callers.submit(turns.hidden, [text(4)], None)
        assert recording.entered.acquire(timeout=LONGEST)
        late = in_line(turns, callers, [(text(i), Priority.INTERACTIVE) for i in (5, BROKEN, 6)])
    running.result(LONGEST)
    assert torch.allclose(late[0].result(LONGEST), network.hidden([text(5)]), atol=1e-5)
    assert torch.allclose(late[2].result(LONGEST), network.hidden([text(6)]), atol=1e-5)
    with pytest.raises(RuntimeError, match="breaks the model"):
        late[1].result(LONGEST)
    assert len(turns.hidden([text(7)], None)) == 3


def test_a_caller_that_is_interrupted_while_it_waits_leaves_the_line(
    recording: Recording, callers: ThreadPoolExecutor, interruption: Interruption
) -> None:
    turns = MicroBatcher(recording, 9)

    def interrupt() -> None:
        until(lambda: waiting(turns) == 2)
        interruption.send()

    with recording.held_up():
        running = callers.submit(turns.hidden, [text(4)], None)
        assert recording.entered.acquire(timeout=LONGEST)
        with interruption.felt():
            callers.submit(interrupt)
            turns.hidden([text(20)], None)
        assert waiting(turns) == 1
        late = in_line(turns, callers, [(text(5), Priority.INTERACTIVE)])
    for future in (running, *late):
        assert len(future.result(LONGEST)) == 3
    assert [[ids[1] for ids in batch] for batch in recording.batches] == [[4], [5]]


def test_a_caller_that_is_interrupted_at_work_blocks_nobody(
    recording: Recording, callers: ThreadPoolExecutor, interruption: Interruption
) -> None:
    """The main thread runs a batch for two; it is interrupted, and the other is served all the same."""
    turns = MicroBatcher(recording, 1000)
    late: list[Future[Tensor]] = []

    def interrupt() -> None:
        assert recording.entered.acquire(timeout=LONGEST)
        late.extend(in_line(turns, callers, [(text(i), Priority.INTERACTIVE) for i in (5, 6)]))
        interruption.send()

    with recording.held_up(), interruption.felt():
        callers.submit(interrupt)
        turns.hidden([text(4)], None)
    for future in late:
        assert len(future.result(LONGEST)) == 3
    assert waiting(turns) == 0


def test_nothing_is_computed_for_callers_that_left(recording: Recording, callers: ThreadPoolExecutor) -> None:
    turns, leaving = MicroBatcher(recording, 9), Awaited()

    def of_one_who_leaves() -> Tensor:
        with awaited(leaving):
            return turns.hidden([text(8)], None)

    with recording.held_up():
        [first] = in_line(turns, callers, [(text(5, 6, 7, 8, 9), Priority.INTERACTIVE)])
        until(lambda: len(recording.batches) == 1)
        gone = callers.submit(of_one_who_leaves)
        until(lambda: waiting(turns) == 2)
        [last] = in_line(turns, callers, [(text(9), Priority.INTERACTIVE)])
        leaving.give_up()
    assert len(first.result(LONGEST)) == 7
    assert len(last.result(LONGEST)) == 3
    with pytest.raises(Abandoned):
        gone.result(LONGEST)
    assert [2, 8, 3] not in [ids for batch in recording.batches for ids in batch]
    assert turns.waiting() == dict.fromkeys(Priority, 0)


def test_who_has_as_many_slots_shares_a_batch_and_others_do_not_end_it(
    recording: Recording, network: Backbone, callers: ThreadPoolExecutor
) -> None:
    turns = MicroBatcher(recording, 1000)
    asked = [text(5), text(*[6] * 70), text(*[7] * 30), text(*[8] * 32), text(*[9] * 32)]
    with recording.held_up():
        running = callers.submit(turns.hidden, [text(4)], None)
        assert recording.entered.acquire(timeout=LONGEST)
        late = in_line(turns, callers, [(ids, Priority.INTERACTIVE) for ids in asked])
    running.result(LONGEST)
    for ids, future in zip(asked, late, strict=True):
        assert torch.allclose(future.result(LONGEST), network.hidden([ids]), atol=1e-5)
    assert [[len(ids) for ids in batch] for batch in recording.batches] == [[3], [32, 3], [72], [34, 34]]
