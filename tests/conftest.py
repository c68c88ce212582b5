"""Fixtures and skips shared by all tests."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from cases.sample_demo import SampleDemo, sample_demo_of

# The machines that run the tests differ in speed: a deadline would only be noise.
settings.register_profile("cemscope", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("cemscope")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def cemscope_data() -> Path:
    """Folder with the real scans; the test is skipped where it is not at hand."""
    folder = os.environ.get("CEMSCOPE_DATA")
    if not folder:
        pytest.skip("CEMSCOPE_DATA does not point at the real scans")
    path = Path(folder)
    if not path.is_absolute():
        path = REPOSITORY / path
    assert path.is_dir(), f"CEMSCOPE_DATA={folder} is no folder"
    return path


@pytest.fixture(scope="session")
def sample_dicom() -> Path:
    """Folder of the sample patient."""
    return REPOSITORY / "sample_dicom"


@pytest.fixture(scope="session")
def sample_demo(
    tmp_path_factory: pytest.TempPathFactory, sample_dicom: Path
) -> SampleDemo:
    """The sample patient's case, made once for a test run by `cemscope demo`."""
    if not (sample_dicom / "baseline").is_dir():
        pytest.skip("sample_dicom/ holds no baseline scan")
    return sample_demo_of(tmp_path_factory, sample_dicom)
