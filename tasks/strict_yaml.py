"""YAML that people write by hand: every scalar a string, every mistake named."""

import difflib
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

BLANK = {"", "~", "null"}
Model = TypeVar("Model", bound=BaseModel)


class YamlError(ValueError):
    """A YAML file cannot be used; the message says where and why."""


class _StringLoader(yaml.BaseLoader):
    """Resolves no types: 007 stays "007". Refuses a key that is given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                line = key.start_mark.line + 1
                raise YamlError(f"line {line}: a list or a mapping stands where a key belongs")
            if key.value in seen:
                raise YamlError(f"line {key.start_mark.line + 1}: {key.value!r} is given twice")
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def read_yaml(path: Path, model: type[Model]) -> Model:
    """Read a YAML file and check it against a pydantic model.

    Raises:
        YamlError: it is absent, no YAML, or does not fit the model; an unknown key is answered
            with the nearest known one.
    """
    try:
        loader = _StringLoader(path.read_text("utf-8-sig"))
        return model.model_validate(loader.get_single_data())
    except OSError as error:
        raise YamlError(f"{path} cannot be read: {error.strerror}") from error
    except RecursionError as error:
        raise YamlError(f"{path}: it is nested too deeply") from error
    except (yaml.YAMLError, UnicodeDecodeError, YamlError) as error:
        raise YamlError(f"{path}: {error}") from error
    except ValidationError as error:
        # A misspelt key is also a missing one: the first says more.
        details = sorted(error.errors(), key=lambda detail: detail["type"] != "extra_forbidden")
        found = "; ".join(_sentence(detail, model) for detail in details)
        raise YamlError(f"{path}: {found}") from error


def _sentence(detail: ErrorDetails, model: type[BaseModel]) -> str:
    loc = detail["loc"]
    if detail["type"] != "extra_forbidden":
        return f"{_where(loc)}: {detail['msg'].removeprefix('Value error, ')}"
    key = str(loc[-1])
    near = difflib.get_close_matches(key, _keys(model, loc[:-1]), n=1, cutoff=0.0)
    return f"{_where(loc[:-1])}: unknown key {key!r}; the nearest known one is {near[0]!r}"


def _where(loc: tuple[int | str, ...]) -> str:
    """("items", 3, "score_min") as ``items[3].score_min``, counted from 1."""
    words = [f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in loc]
    return "".join(words).removeprefix(".") or "the file"


def _keys(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """The keys of the model that the location leads to."""
    for part in loc:
        found = _inner(model.model_fields[part].annotation) if part in model.model_fields else None
        model = found or model
    return list(model.model_fields)


def _inner(annotation: Any) -> type[BaseModel] | None:
    """The first pydantic model inside an annotation such as ``list[str | Item]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_inner(part) for part in getattr(annotation, "__args__", ()))
    return next((model for model in found if model), None)
