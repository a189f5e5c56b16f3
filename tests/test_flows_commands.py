"""Errors that a user can mend are told in a sentence."""

import importlib

import pytest

from flows.commands import TOLD


@pytest.mark.parametrize("name", sorted(TOLD))
def test_every_error_that_is_told_is_named_as_python_names_it(name: str) -> None:
    """By the module that defines it: through another it would never be recognised."""
    module, _, kind = name.rpartition(".")
    error = getattr(importlib.import_module(module), kind)
    assert issubclass(error, Exception)
    assert f"{error.__module__}.{error.__name__}" == name
