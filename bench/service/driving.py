"""Drive a server with concurrent search clients.

Uses the standard library only, as it also runs in the peers' virtual environment.
"""

from __future__ import annotations

import itertools
import random
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

FEWEST_WORDS = 5  # of a query whose words are shuffled: they have 120 orders
Search = Callable[[str], Sequence[str]]  # a query's text -> the ids of its hits, best first


def drive(
    connect: Callable[[], AbstractContextManager[Search]],
    queries: Mapping[str, str],
    *,
    clients: int,
    seconds: float | None,
    shuffled: int | None = None,
) -> dict[str, Any]:
    """Run all queries in turn, repeatedly for `seconds`, by `clients` clients that each wait for their answer.

    If `seconds` is None, each query runs once. With `shuffled`, a random seed, the words of a query get another order
    each time, and queries of fewer than FEWEST_WORDS are left out, so that hardly any query was sent before. `connect`
    is called once per client.

    Returns `times`, the seconds of each search; `wall`, the seconds of the whole run; and `answers`, the ids of the
    hits by query. Raises what a search raises, and ValueError if no query has enough words.
    """
    order = list(queries) if shuffled is None else [name for name, text in queries.items() if _has_orders(text)]
    if not order:
        raise ValueError(f"no query has {FEWEST_WORDS} words")
    lock = threading.Lock()
    taken, times, answers, failures = 0, [], dict[str, list[str]](), list[BaseException]()
    begin = time.perf_counter()

    def next_query() -> tuple[str, str] | None:
        nonlocal taken
        with lock:
            over = taken == len(order) if seconds is None else time.perf_counter() - begin > seconds
            if failures or over:
                return None
            turn, query = taken, order[taken % len(order)]
            taken += 1
        text = queries[query]
        return query, text if shuffled is None else _shuffled(text, f"{shuffled} {turn}")

    def client() -> None:
        try:
            with connect() as search:
                while (following := next_query()) is not None:
                    query, text = following
                    start = time.perf_counter()
                    found = search(text)
                    took = time.perf_counter() - start
                    with lock:
                        times.append(took)
                        answers[query] = list(found)
        except BaseException as error:  # noqa: BLE001 - raised again below, in the caller's thread
            with lock:
                failures.append(error)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return {"times": times, "wall": time.perf_counter() - begin, "answers": answers}


def summary(turns: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, float]:
    """Combine the results of `drive`: one list per turn, of the drivers that ran at the same time.

    Returns `p50` and `p95` in milliseconds, `throughput` in searches per second, and `searches`, their number.
    """
    times = [seconds for driven in turns for one in driven for seconds in one["times"]]
    wall = sum(max(one["wall"] for one in driven) for driven in turns)
    cuts = statistics.quantiles(times, n=20)
    return {
        "p50": round(1000 * cuts[9], 2),
        "p95": round(1000 * cuts[18], 2),
        "throughput": round(len(times) / wall, 1),
        "searches": len(times),
    }


def new_queries(queries: Sequence[str]) -> Iterator[str]:
    """Yield the queries of at least FEWEST_WORDS in an endless cycle, with their words in another order each time.

    This keeps a server from answering out of its caches.
    """
    for number, query in enumerate(itertools.cycle([query for query in queries if _has_orders(query)])):
        yield _shuffled(query, str(number))


def _has_orders(text: str) -> bool:
    return len(set(text.split())) >= FEWEST_WORDS


def _shuffled(text: str, seed: str) -> str:
    words = text.split()
    random.Random(seed).shuffle(words)
    return " ".join(words)
