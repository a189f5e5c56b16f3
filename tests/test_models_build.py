"""The build's name tells two programs apart whenever their scoring code differs."""

from importlib.metadata import version
from pathlib import Path

from models.build import CODE, build, code_sha256
from models.kernels import engine_of


def _code(folder: Path, **files: str) -> str:
    for name, content in files.items():
        path = folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return code_sha256(folder)


def test_every_change_of_the_scoring_code_makes_another_build(tmp_path: Path) -> None:
    names = [
        _code(tmp_path / "a", heads="x = 1", scorer=""),
        _code(tmp_path / "b", heads="x = 2", scorer=""),
        _code(tmp_path / "c", heads="", scorer="x = 1"),
        _code(tmp_path / "d", heads="x = 1"),
        _code(tmp_path / "e", **{"inner/heads": "x = 1", "scorer": ""}),
    ]

    assert len(set(names)) == len(names)
    assert _code(tmp_path / "f", heads="x = 1", scorer="") == names[0]


def test_what_is_no_code_changes_nothing(tmp_path: Path) -> None:
    before = _code(tmp_path, heads="x = 1")
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "heads.pyc").write_bytes(b"compiled")

    assert code_sha256(tmp_path) == before


def test_the_ledger_names_version_and_build() -> None:
    assert build() == f"gradeline-{version('gradeline')}-{code_sha256(CODE)[:8]}"
    assert build() in engine_of("fp32")
