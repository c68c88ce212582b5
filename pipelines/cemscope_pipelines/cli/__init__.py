"""The command line; the only place that prints or exits."""

from cemscope_pipelines.cli.main import main

__all__ = ["main"]
