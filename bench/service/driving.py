"""Clients that search side by side. Standard library only: it runs in the peers' environment as well."""

from __future__ import annotations

import itertools
import random
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

FEWEST_WORDS = 5  # of a query that is to come in ever other orders: it has 120 of them
Search = Callable[[str], Sequence[str]]  # a query's text to the ids of its hits, best first


def drive(
    connect: Callable[[], AbstractContextManager[Search]],
    queries: Mapping[str, str],
    *,
    clients: int,
    seconds: float | None,
    shuffled: int | None = None,
) -> dict[str, Any]:
    """All queries in turn, again and again for `seconds`, by so many clients; each waits for its answer.

    `seconds`: None: once each. `shuffled`: with the words of each in another order every time, by this number's dice,
    and without the queries of fewer than FEWEST_WORDS: so that hardly anything has been asked before. `connect` is
    called once for every client.

    Gives `times`, the seconds of each search, `wall`, those of all, and `answers`: the ids of the hits of each query.
    Raises what a search raises.
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
        except BaseException as error:  # noqa: BLE001 - it is raised below, in the thread that asked
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
    """Of what drove a server in several turns, side by side in each: `p50` and `p95` in milliseconds, `throughput` in
    searches a second, and `searches`.
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
    """Those of at least FEWEST_WORDS, in turn without end, with their words in another order each time: the same work
    for a server, which would have less of it where it remembers what it was asked.
    """
    for number, query in enumerate(itertools.cycle([query for query in queries if _has_orders(query)])):
        yield _shuffled(query, str(number))


def _has_orders(text: str) -> bool:
    return len(set(text.split())) >= FEWEST_WORDS


def _shuffled(text: str, seed: str) -> str:
    words = text.split()
    random.Random(seed).shuffle(words)
    return " ".join(words)
