"""How much memory the process has needed."""

import sys

import psutil

_MIB = 1024.0**2


def peak_memory_mib() -> float:
    """Largest resident memory of this process so far, MiB.

    Windows reports it through psutil; elsewhere the kernel's own count is used
    (kibibytes on Linux, bytes on macOS).
    """
    if sys.platform == "win32":
        return float(psutil.Process().memory_info().peak_wset) / _MIB
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / _MIB if sys.platform == "darwin" else peak / 1024.0
