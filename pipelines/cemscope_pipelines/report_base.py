"""What all parts of a report share: immutable models, and things not measured."""

from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

T = TypeVar("T")

PointLPSmm = tuple[float, float, float]


class ReportModel(BaseModel):
    """Base of all parts: immutable, no unknown keys, no NaN or infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class NotAssessedEntry(ReportModel):
    """A thing that was not measured."""

    status: Literal["not_assessed"] = "not_assessed"
    reason: str = Field(min_length=1, description="Why, in a sentence.")


Assessed = Annotated[T | NotAssessedEntry, Field(union_mode="left_to_right")]

Volume = Annotated[float, Field(ge=0.0, description="mL")]
IntervalML = Annotated[
    tuple[float, float], Field(description="95 % interval [low, high], mL")
]
Count = Annotated[int, Field(ge=0)]
