"""Make the sample patient again: ``python sample_dicom/generate.py --out DIR``.

Needs ``pip install 'cemscope[simulation]'`` and about a quarter of an hour.
"""

import argparse
import logging
from pathlib import Path

from cemscope.testing.sample_patient import generate_sample

_logger = logging.getLogger("sample_dicom")


def main() -> None:
    """Write both studies and the manifest into a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    arguments.out.mkdir(parents=True, exist_ok=True)
    manifest = generate_sample(arguments.out)
    _logger.info("wrote %s", manifest)


if __name__ == "__main__":
    main()
