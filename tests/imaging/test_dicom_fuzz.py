"""Bytes and tags changed at random: a volume or a refusal of ours, nothing else.

A longer run: ``PYTHONPATH=tests python tests/benchmarks/fuzz_dicom.py --cases 100000``.
"""

from pathlib import Path

import numpy as np
import pytest

from cases.mutations import Corpus, corpora, read_mutated

CASES_PER_CORPUS = 170


@pytest.mark.parametrize("corpus", corpora(), ids=lambda c: c.name)
def test_only_our_errors_escape(corpus: Corpus, tmp_path: Path) -> None:
    read = 0
    for seed in range(CASES_PER_CORPUS):
        volume = read_mutated(corpus, tmp_path / "in", seed)
        if volume is not None:
            read += 1
            assert volume.hu.dtype == np.int16
            assert np.isfinite(volume.geometry.affine_lps).all()
            assert volume.geometry.voxel_volume_mm3 > 0
    # Neither refuses everything nor swallows everything.
    assert 0 < read < CASES_PER_CORPUS
