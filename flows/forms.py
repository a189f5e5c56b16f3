"""Flow parameters as a form: types with the title and the field that Prefect's page shows for them.

What may be left out is ``None`` in Python, and one plain field in the form instead of a choice
between that field and nothing. What a parameter means is said once, in the flow's docstring, and
shown beneath its field.
"""

from datetime import date
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, GetJsonSchemaHandler
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema


def titled(title: str, *examples: Any) -> FieldInfo:
    """The title of a field, and examples of what may be entered."""
    given: dict[str, Any] = {"title": title}
    if examples:
        given["examples"] = list(examples)
    field: FieldInfo = Field(json_schema_extra=given)
    return field


class _Schema(dict[str, Any]):
    """Of a field that may stay empty. It keeps no null as its default.

    With one, Prefect's form sends the null and Prefect's server then refuses it; without one, the
    field is left out, and a null is allowed as well.
    """

    def __setitem__(self, key: str, value: Any) -> None:
        if (key, value) != ("default", None):
            super().__setitem__(key, value)


class _Field:
    """Says what field the form shows for a type."""

    def __init__(self, **schema: Any) -> None:
        self.schema = schema

    def __get_pydantic_json_schema__(
        self, _core: CoreSchema, _handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return _Schema(self.schema)


_TEXT = _Field(type="string")
_TEXTS = _Field(type="array", items={"type": "string"})
_DAY = _Field(type="string", format="date")

Seasons = Annotated[list[str] | None, _TEXTS, titled("Seasons", ["2026-spring"])]
Items = Annotated[list[str] | None, _TEXTS, titled("Items", ["0417", "essay-7"])]
Season = Annotated[str | None, _TEXT, titled("Season of exports that name none", "2026-spring")]
FromDate = Annotated[date | None, _DAY, titled("Submitted on or after")]
ToDate = Annotated[date | None, _DAY, titled("Submitted on or before")]
AdministrationDate = Annotated[date | None, _DAY, titled("Day the run counts for")]
Mapping = Annotated[Path | None, _TEXT, titled("Mapping file")]
Home = Annotated[Path | None, _TEXT, titled("Workspace")]
RunId = Annotated[str, titled("Run", "nightly-20260312-020001-3f9c")]
By = Annotated[str, titled("Your name", "A. Rater")]
Reason = Annotated[str, titled("Reason", "item 0417 read again, memo 7")]
