"""Run the command line: ``python -m cemscope_pipelines``."""

import sys

from cemscope_pipelines.cli import main

if __name__ == "__main__":
    sys.exit(main())
