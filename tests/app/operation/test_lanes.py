"""Bounded queues: who is served, in which order, and who is told to come back."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Coroutine
from typing import Any

import pytest

from app.operation.lanes import Lane, Left, Overloaded


class Requests:
    """So many at a lane, each told by its number."""

    def __init__(self, at_once: int, waiting: int, seconds: float = 60.0) -> None:
        self.refusals: Counter[str] = Counter()
        self.lane = Lane(
            "test",
            at_once=at_once,
            waiting=waiting,
            seconds=seconds,
            refused=lambda _, why: self.refusals.update([why]),
        )
        self.served: list[int] = []
        self.most = 0
        self.ends: dict[int, asyncio.Event] = {}
        self.gone: dict[int, asyncio.Event] = {}

    async def one(self, number: int, seconds: float | None = None) -> None:
        self.ends[number], self.gone[number] = asyncio.Event(), asyncio.Event()
        async with self.lane.place(self.gone[number], seconds):
            self.served.append(number)
            self.most = max(self.most, self.lane.running)
            await self.ends[number].wait()

    def start(self, *numbers: int, seconds: float | None = None) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(self.one(number, seconds)) for number in numbers]


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 20))


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_first_come_first_served_and_no_more_than_there_is_room_for() -> None:
    async def test() -> None:
        requests = Requests(at_once=2, waiting=2)
        tasks = requests.start(0, 1, 2, 3, 4)
        await settled()
        assert requests.served == [0, 1]
        assert requests.lane.waiting == 2
        with pytest.raises(Overloaded, match="2 requests are served and 2 wait") as error:
            await tasks[4]
        assert (error.value.retry_after or 0) >= 1
        requests.ends[1].set()
        await settled()
        assert requests.served == [0, 1, 2]
        for number in (0, 2):
            requests.ends[number].set()
        await settled()
        requests.ends[3].set()
        await asyncio.gather(*tasks[:4])
        assert requests.served == [0, 1, 2, 3]
        assert (requests.lane.running, requests.lane.waiting, requests.most) == (0, 0, 2)
        assert requests.refusals == {"full": 1}

    run(test())


def test_room_is_looked_for_without_taking_it() -> None:
    async def test() -> None:
        requests = Requests(at_once=1, waiting=1)
        for number in range(2):
            requests.lane.check_room()
            requests.start(number)
            await settled()
        with pytest.raises(Overloaded, match="1 requests are served and 1 wait"):
            requests.lane.check_room()
        assert (requests.lane.running, requests.lane.waiting, requests.refusals) == (1, 1, {"full": 1})
        requests.ends[0].set()
        await settled()
        requests.lane.check_room()
        requests.ends[1].set()

    run(test())


def test_who_is_expected_in_the_same_turn_of_the_loop_is_counted_and_for_that_turn_only() -> None:
    async def test() -> None:
        requests = Requests(at_once=1, waiting=2)
        assert [requests.lane.expect() for _ in range(5)] == [True, True, True, False, False]
        requests.start(0, 1)  # and one that was expected did not come
        await settled()
        assert (requests.lane.running, requests.lane.waiting) == (1, 1)
        assert [requests.lane.expect() for _ in range(2)] == [True, False]
        requests.start(2)
        await settled()
        assert (requests.lane.waiting, requests.refusals) == (2, {})
        assert not requests.lane.expect()
        for event in requests.ends.values():
            event.set()
            await settled()
        assert requests.served == [0, 1, 2]

    run(test())


def test_whoever_waits_too_long_or_leaves_gives_its_place_in_line_up() -> None:
    async def test() -> None:
        requests = Requests(at_once=1, waiting=5, seconds=0.1)
        requests.start(0)
        await settled()
        impatient, leaving, late = (*requests.start(1, seconds=0.01), *requests.start(2, 3))
        await settled()
        requests.gone[2].set()
        with pytest.raises(Left):
            await leaving
        with pytest.raises(Overloaded, match=r"in 0\.01 seconds"):
            await impatient
        with pytest.raises(Overloaded, match=r"in 0\.1 seconds"):
            await late
        assert requests.refusals == {"gone": 1, "late": 2}
        requests.ends[0].set()
        await settled()
        assert (requests.served, requests.lane.running, requests.lane.waiting) == ([0], 0, 0)

    run(test())


def test_a_place_that_comes_as_its_owner_is_cancelled_goes_to_the_next() -> None:
    async def test() -> None:
        requests = Requests(at_once=1, waiting=5)
        _, second, third = requests.start(0, 1, 2)
        await settled()
        requests.ends[0].set()
        await asyncio.sleep(0)
        second.cancel()
        await settled()
        assert 2 in requests.served or 1 in requests.served
        for event in requests.ends.values():
            event.set()
        await asyncio.gather(second, third, return_exceptions=True)
        assert requests.served[-1] == 2
        assert requests.lane.running == 0

    run(test())


@pytest.mark.parametrize("seed", range(20))
def test_no_place_is_lost_or_given_twice_whatever_happens(seed: int) -> None:
    async def test() -> None:
        chance = random.Random(seed)
        requests = Requests(at_once=3, waiting=6, seconds=0.02)
        tasks: dict[int, asyncio.Task[None]] = {}
        for number in range(120):
            tasks[number] = asyncio.create_task(requests.one(number))
            await asyncio.sleep(0 if chance.random() < 0.7 else 0.004)
            other = chance.randrange(number + 1)
            match chance.randrange(3):
                case 0:
                    requests.ends[other].set()
                case 1:
                    requests.gone[other].set()
                case _:
                    tasks[other].cancel()
            assert requests.lane.running <= 3
            assert requests.lane.waiting <= 6
        for event in requests.ends.values():
            event.set()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
        assert (requests.lane.running, requests.lane.waiting) == (0, 0)
        assert requests.served == sorted(requests.served)  # in the order in which they came

    run(test())
