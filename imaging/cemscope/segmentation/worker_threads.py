"""Independent pieces of work side by side: numpy and scipy let go of Python's lock."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST_THREADS = 4
"""More threads only wait for memory."""


def thread_count() -> int:
    """How many pieces are worked on at a time."""
    return min(os.cpu_count() or 1, MOST_THREADS)


def side_by_side(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Do the same work on each item; results come in the order of the items."""
    with ThreadPoolExecutor(thread_count()) as pool:
        return list(pool.map(work, items))
