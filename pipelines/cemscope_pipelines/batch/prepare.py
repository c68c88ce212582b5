"""The configuration of a batch; reading it imports every algorithm."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict


class ConfigJob(BaseModel):
    """Where the configuration comes from, as words of the command line."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    config_file: str | None = None
    assignments: tuple[str, ...] = ()
    vertebra_source: str | None = None


class ReadyConfig(BaseModel):
    """The configuration as text, its hash, and the version of the software."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: str
    config_hash: str
    version: str


def ready_config(job: ConfigJob) -> ReadyConfig:
    """Read the configuration of a batch.

    Raises
    ------
    ConfigError
        If a setting is wrong, or holds for one scan only.
    """
    from cemscope.errors import ConfigError
    from cemscope_pipelines.batch.installed import installed_version
    from cemscope_pipelines.config import load_config
    from cemscope_pipelines.vertebra_source import EMBEDDED, TOTALSEGMENTATOR

    config = load_config(
        None if job.config_file is None else Path(job.config_file),
        job.assignments,
        {"vertebra_source": job.vertebra_source},
    )
    if config.vertebra_source not in (EMBEDDED, TOTALSEGMENTATOR):
        raise ConfigError(
            f"--vertebrae: a batch takes {EMBEDDED} or {TOTALSEGMENTATOR}; a label map "
            "belongs to one scan: analyse that scan with cemscope analyze"
        )
    return ReadyConfig(
        config=config.canonical_json(),
        config_hash=config.config_hash,
        version=installed_version(),
    )
