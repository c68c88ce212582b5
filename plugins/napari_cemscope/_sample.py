"""napari's 'Open sample': the simulated patient that comes with cemscope."""

from cemscope.dicom import read_series
from cemscope.errors import ConfigError
from cemscope_pipelines.sample_case import BASELINE, SAMPLE_VARIABLE, find_sample
from napari_cemscope.layers import LayerData, ct_layer

HOW_TO_GET_IT = (
    "the sample patient is not here: fetch the cemscope repository and drag its folder "
    "sample_dicom/baseline onto napari, or name its sample_dicom in "
    f"{SAMPLE_VARIABLE} before you start napari"
)


def open_sample() -> list[LayerData]:
    """Read the baseline scan of the sample patient.

    Raises
    ------
    ConfigError
        If it is not found; the message says what to do.
    """
    try:
        folder = find_sample()
    except ConfigError:
        raise ConfigError(HOW_TO_GET_IT) from None
    return [ct_layer(read_series(folder / BASELINE), "sample CT")]
