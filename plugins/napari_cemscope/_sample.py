"""napari's 'Open sample': the simulated patient that comes with the repository."""

from cemscope.dicom import read_series
from cemscope_pipelines.sample_case import BASELINE, find_sample
from napari_cemscope.layers import LayerData, ct_layer


def open_sample() -> list[LayerData]:
    """Read the baseline scan of the sample patient.

    Raises
    ------
    ConfigError
        If the installed package runs without the repository's ``sample_dicom``.
    """
    return [ct_layer(read_series(find_sample() / BASELINE), "sample CT")]
