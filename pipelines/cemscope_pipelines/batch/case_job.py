"""One case of a batch, as it is handed to a process on this or another machine."""

from pydantic import BaseModel, ConfigDict

CASE_RUNNER = "cemscope_pipelines.batch.case_run:run"
"""The function that measures a case, see `IsolatedCall.function`."""


class CaseJob(BaseModel):
    """What a process must know to measure one case.

    Attributes
    ----------
    key : str
        See `FoundSeries.case_key`.
    series_path, series_name : str
        Input.
    case_folder : str
        Output.
    config : str
        Configuration as JSON.
    command : tuple of str
        Words of the command line, for the provenance.
    baseline_folder : str
        Of a comparison: the case of the first scan; "" for a scan on its own.
    run : str
        Random name of the run, for messages on a cluster.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    series_path: str
    series_name: str
    case_folder: str
    config: str
    command: tuple[str, ...] = ()
    baseline_folder: str = ""
    run: str = ""
