"""Version of the software, told without importing its algorithms."""

from importlib.metadata import PackageNotFoundError, version


def installed_version() -> str:
    """Version of the installed distribution, as in ``report.json``."""
    try:
        return version("cemscope")
    except PackageNotFoundError:
        return "unknown (not installed)"
