"""Adapter directories of distilled students: ``student.safetensors`` and ``scoring.json``.

Neither torch nor a backbone is needed to read one or to score with it.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from models.adapter_files import SCORING, STUDENT, AdapterError, write_folder, write_json
from models.adapter_folders import adapter_sha256, open_folder
from models.postprocessing import Reported
from models.scored import Scored, check_probes, check_scaling, reports, require_probes
from models.scoring_record import StudentRecord, probes_of
from models.student import Student, read_student, written
from models.text import encode

# All its arithmetic is exact but for the logistic function's last digits.
PROBE_TOLERANCE = (1e-9, 1e-9)


@dataclass(frozen=True)
class StudentAdapter:
    """A student in memory.

    Attributes:
        student: the network.
        scoring: its record.
        sha256: hash of its directory; empty while it has none.
    """

    student: Student
    scoring: StudentRecord
    sha256: str = ""

    def with_probes(self, texts: Sequence[str]) -> "StudentAdapter":
        """The same with what it says of fixed texts."""
        probes = probes_of(texts, self.student.score(texts, self.scoring.scale).raw_score)
        return replace(self, scoring=self.scoring.model_copy(update={"probes": probes}))


def save_student(folder: Path, adapter: StudentAdapter) -> str:
    """Write the student to ``folder``, whole or not at all; an older one there is replaced.

    Returns:
        the directory's ``adapter_sha256``.
    """

    def write(temporary: Path) -> None:
        (temporary / STUDENT).write_bytes(written(adapter.student))
        write_json(temporary / SCORING, adapter.scoring.model_dump())

    write_folder(folder, write)
    return adapter_sha256(folder)


def load_student(folder: Path, *, expected_sha256: str | None = None) -> StudentAdapter:
    """Read and check a student's directory; what was hashed is what is used.

    Raises:
        AdapterError: another hash, missing or extra files or tensors, wrong shapes or types, or a
            directory of another method.
    """
    found = open_folder(folder, expected_sha256)
    record = found.record
    if not isinstance(record, StudentRecord):
        raise AdapterError(f"{folder} holds a {record.method} adapter, not a student")
    student = student_of(found.files[STUDENT], record, folder)
    return replace(student, sha256=found.sha256)


def score_with_student(
    adapter: StudentAdapter,
    texts: Sequence[str],
    tokenizer: Tokenizer,
    unknown: int | None,
    *,
    verify: bool = True,
    reported: Reported = "rounded",
) -> Scored:
    """Score texts with a student alone.

    Args:
        adapter: the student.
        texts: n texts; a student reads them to their end.
        tokenizer: a backbone's, see ``models.text.with_limit``: it counts tokens as for other
            adapters, so that lengths can be compared when an item changes its method.
        unknown: see ``models.text.unknown_token``.
        verify: compare its probe predictions.
        reported: which score is reported.

    Raises:
        AdapterError: its probe predictions differ, or there are none; or scaled scores are to be
            reported and it has no scaling.
    """
    started = time.perf_counter()
    record = adapter.scoring
    check_scaling(record, reported)
    if verify:
        require_probes(record)
        probes = [probe.text for probe in record.probes]
        raw = adapter.student.score(probes, record.scale).raw_score
        check_probes(record, raw, PROBE_TOLERANCE)
    load_ms = (time.perf_counter() - started) * 1e3
    started = time.perf_counter()
    columns = adapter.student.score(texts, record.scale)
    told = reports(columns, record, reported)
    spent_ms = (time.perf_counter() - started) * 1e3
    encoded = encode(tokenizer, texts)
    characters = np.array([len(text) + 1 for text in texts], dtype=np.float64)
    n = len(texts)
    return Scored(
        raw_score=columns.raw_score,
        trimmed_score=told.trimmed_score,
        scaled_score=told.scaled_score,
        score=told.score,
        confidence=told.confidence,
        probabilities=columns.probabilities,
        by_student=np.ones(n, dtype=np.bool_),
        truncated=np.zeros(n, dtype=np.bool_),
        latency_ms=characters * (spent_ms / max(characters.sum(), 1.0)),
        tokens=encoded.lengths,
        unknown_tokens=encoded.occurrences(unknown),
        load_ms=load_ms,
    )


def student_of(content: bytes, record: StudentRecord, folder: Path) -> StudentAdapter:
    """A student from the bytes of its file and its record, by itself or of a cascade.

    Raises:
        AdapterError: the file is damaged, or is not that of the record.
    """
    student = read_student(content, folder / STUDENT, record.scale)
    if student.trained_parameters != record.trained_parameters:
        raise AdapterError(
            f"{folder / STUDENT} holds {student.trained_parameters} trained numbers, its record "
            f"says {record.trained_parameters}"
        )
    return StudentAdapter(student, record)
