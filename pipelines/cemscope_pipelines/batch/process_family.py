"""All processes that a process started, and how to end them."""

import psutil

_ROUNDS = 20
"""A process can start another while it is being killed; each round finds fewer."""

_WAIT_S = 2.0
"""For the kernel to take away what was killed; one that waits for a disk stays."""

_MIB = 1024.0**2


def descendants(process: psutil.Process) -> list[psutil.Process]:
    """List what runs below a process; nothing if it is gone."""
    try:
        family: list[psutil.Process] = process.children(recursive=True)
    except psutil.Error:
        return []
    return [member for member in family if is_running(member)]


def is_running(process: psutil.Process) -> bool:
    """Tell whether a process runs; one that only waits to be buried does not."""
    try:
        runs: bool = process.is_running()
        return runs and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def kill(process: psutil.Process) -> None:
    """Kill a process if it still is the one that was meant."""
    try:
        process.kill()
    except psutil.Error:
        return


def end_descendants(process: psutil.Process) -> None:
    """Kill all processes below a process, also those that left its session."""
    for _ in range(_ROUNDS):
        family = descendants(process)
        if not family:
            return
        for member in family:
            kill(member)
        psutil.wait_procs(family, timeout=_WAIT_S)


def memory_mib(family: list[psutil.Process]) -> float:
    """Resident memory of several processes, MiB."""
    total = 0
    for member in family:
        try:
            total += member.memory_info().rss
        except psutil.Error:
            continue
    return total / _MIB
