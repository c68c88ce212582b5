"""``cemscope`` with fake cases, for tests that need it in a process of its own."""

import sys

from cases.fake_cases import RUNNER
from cemscope_pipelines.batch import case_job
from cemscope_pipelines.cli import main

if __name__ == "__main__":
    case_job.CASE_RUNNER = RUNNER
    sys.exit(main())
