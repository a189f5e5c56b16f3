"""What differs from machine to machine: the one place that reads the environment."""

import json
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Literal
from urllib.request import urlopen

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from warehouse.storage import Location, location

SERVING = "serving.json"  # in the workspace, while `gradeline serve` runs
# tasks.runners says what each of them is.
RUNNERS = r"^(here|processes(:[1-9]\d*)?|(ray|dask)(:.+)?|workers(:[1-9]\d*)?)$"
OUR_LOGGERS = "flows,tasks,models,warehouse"
# What libraries read from the environment, unless the user has set it.
LIBRARIES = {
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLI_COLORS": "false",
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "true",
}
# Checksums that S3-compatible stores older than 2025 refuse; a sealed file has one of its own.
STORES = {
    "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
    "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
}


class StudentKeyError(ValueError):
    """The key that turns student ids into pseudonyms is too short to be one."""


class Settings(BaseSettings):
    """Settings, each from ``GRADELINE_<NAME>`` in the environment, or the default here."""

    model_config = SettingsConfigDict(env_prefix="GRADELINE_", frozen=True, populate_by_name=True)

    home: Path = Field(default=Path("workspace"), description="the folder that holds all state")
    season: str | None = Field(default=None, description="season of exports that name none")
    backbone: str = Field(
        default="all-MiniLM-L6-v2", description="Hugging Face id or folder of the shared encoder"
    )
    max_tokens: int = Field(
        default=512, ge=8, description="longest input the model reads; the rest is cut and counted"
    )
    precision: Literal["auto", "bf16", "fp32"] = Field(
        default="auto",
        description="of the backbone's arithmetic: auto is bf16 where a probe of this machine "
        "finds it faster; fp32 is the audit mode, exact and slower",
    )
    device: Literal["cpu", "cuda"] = Field(
        default="cpu",
        description="where responses are scored; on cuda, a GPU, every adapter's probe predictions "
        "are compared in every run",
    )
    runner: str = Field(
        default="here",
        pattern=RUNNERS,
        description="where shards are scored: here, this process; processes:4, of this machine; "
        "ray or dask, started here, or ray:ADDRESS and dask:ADDRESS of a cluster; workers:4, that "
        "many runs of the deployment score-shards by Prefect workers of any host",
    )
    storage: str | None = Field(
        default=None,
        description="folder or s3://bucket/prefix that holds responses, plans and parts, and what "
        "other hosts need of adapters; default <home>",
    )
    trunk_cache_gb: float = Field(
        default=2.0,
        ge=0,
        allow_inf_nan=False,
        description="disk for what the shared lower layers made of responses, so that scoring them "
        "with another adapter runs the upper layers alone; 0 keeps nothing",
    )
    max_characters: int = Field(
        default=20_000, ge=1, description="a response longer than this is rejected"
    )
    workers: int = Field(
        default=os.cpu_count() or 1, ge=1, description="processes that train adapters"
    )
    lock_wait_s: float = Field(
        default=6 * 3600,
        ge=0,
        description="seconds to wait for another command that changes the workspace; 0 refuses",
    )
    retry_s: float = Field(
        default=10,
        ge=0,
        description="pause before MLflow out of reach or a warehouse held by a reader is tried "
        "again, then 3 and 9 times as long; 0 tries once",
    )
    mlflow_ui: str | None = Field(
        default=None,
        description="address of MLflow's pages for links in Prefect; the server's where one is set",
    )
    backup_days: int = Field(
        default=30, ge=1, description="days that copies in <home>/backups are kept"
    )
    programme: str = Field(default="gradeline", description="prefix of the MLflow experiments")
    student_key_file: Path | None = Field(
        default=None, description="HMAC key for student ids; default <home>/student.key"
    )
    mlflow_tracking_uri: str | None = Field(
        default=None,
        validation_alias="MLFLOW_TRACKING_URI",
        description="MLflow server; default a SQLite store in <home>",
    )

    @property
    def warehouse(self) -> Path:
        """The DuckDB file."""
        return self.home / "warehouse.duckdb"

    @property
    def inbox(self) -> Path:
        """Where exports are dropped."""
        return self.home / "inbox"

    @property
    def shared(self) -> Location:
        """What all hosts that score can read and write."""
        return self.home if self.storage is None else location(self.storage)

    @property
    def responses(self) -> Location:
        """The Parquet files that hold the responses."""
        return self.shared / "responses"

    @property
    def plans(self) -> Location:
        """Plans and scored parts of runs not yet committed."""
        return self.shared / "parts"

    @property
    def adapters(self) -> Path:
        """Adapter folders, each named by its sha256."""
        return self.home / "adapters"

    @property
    def trunk_cache(self) -> Path:
        """Hidden states of responses, from which much of a text can be told."""
        return self.home / "cache" / "trunk"

    @property
    def parts(self) -> Path:
        """Work in progress on this machine, such as adapters in training."""
        return self.home / "parts"

    @property
    def reports(self) -> Path:
        """HTML reports, one per run."""
        return self.home / "reports"

    @property
    def tombstones(self) -> Path:
        """Who was erased, by hash, should a backup from before be restored."""
        return self.home / "tombstones.json"

    @property
    def thresholds(self) -> Path:
        """The workspace's own limits; where the file is absent, the packaged ones hold."""
        return self.home / "thresholds.yaml"

    @property
    def champions(self) -> Path:
        """Which adapters were champions when the registry was read last."""
        return self.home / "champions.json"

    @property
    def mlflow_pages(self) -> str | None:
        """Address of MLflow's pages, if a server shows them."""
        uri = self.mlflow_tracking_uri or ""
        return self.mlflow_ui or (uri if uri.startswith("http") else None)

    @property
    def tracking_uri(self) -> str:
        """Where MLflow keeps runs and the registry."""
        return self.mlflow_tracking_uri or f"sqlite:///{self.home / 'mlflow.db'}"

    def student_key(self) -> bytes:
        """The key for student ids, made on first use, readable by its owner alone."""
        path = self.student_key_file or self.home / "student.key"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
            temporary.touch(mode=0o600)
            temporary.write_text(secrets.token_hex(32) + "\n", encoding="ascii")
            with suppress(FileExistsError):  # another process was first: its key is the key
                path.hardlink_to(temporary)
            temporary.unlink()
        key = path.read_text(encoding="ascii").strip().encode("ascii")
        if len(key) < 32:
            raise StudentKeyError(f"{path} has {len(key)} characters; a student key has 32 or more")
        return key


def load_settings(home: Path | None = None) -> Settings:
    """The settings in force, with ``home`` (absolute) overriding the environment's."""
    for name, value in STORES.items():  # here, since other hosts that score come by here too
        os.environ.setdefault(name, value)
    settings = Settings() if home is None else Settings(home=home)
    absolute: dict[str, Path | str] = {"home": settings.home.expanduser().resolve()}
    if settings.storage is not None and "://" not in settings.storage:
        absolute["storage"] = str(Path(settings.storage).expanduser().resolve())
    return settings.model_copy(update=absolute)


def prepare_libraries(settings: Settings) -> None:
    """Give Prefect and MLflow the settings they read from the environment when imported.

    Only defaults: what the user has set stays. Prefect's server is that of ``gradeline serve``
    where it serves this workspace. Without one, Prefect starts a temporary one per command and
    keeps its database inside the workspace, which is made here.
    """
    defaults = {**LIBRARIES, "PREFECT_LOGGING_LEVEL": "CRITICAL"}
    if "PREFECT_API_URL" not in os.environ:
        served = serving(settings.home)
        if served:
            defaults["PREFECT_API_URL"] = served["prefect_api"]
            defaults["GRADELINE_MLFLOW_UI"] = served["mlflow"]
        defaults["PREFECT_HOME"] = _prefect_home(settings)
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def server_environment(settings: Settings, prefect_api: str, mlflow: str) -> dict[str, str]:
    """The environment of the servers, of the worker and of the flows that it starts.

    Args:
        settings: the settings.
        prefect_api: where Prefect's server will answer, unless the user's is elsewhere.
        mlflow: where MLflow's pages will be, unless the user's are elsewhere.
    """
    own = "PREFECT_API_URL" not in os.environ
    given = {
        **LIBRARIES,
        **({"PREFECT_HOME": _prefect_home(settings)} if own else {}),
        **os.environ,
    }
    api = given.get("PREFECT_API_URL", prefect_api)
    return {
        **given,
        "GRADELINE_HOME": str(settings.home),
        "GRADELINE_MLFLOW_UI": settings.mlflow_pages or mlflow,
        "PREFECT_API_URL": api,
        "PREFECT_UI_API_URL": api,  # else its pages ask the usual port
        "PREFECT_LOGGING_LEVEL": "INFO",
        "PREFECT_LOGGING_EXTRA_LOGGERS": OUR_LOGGERS,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # seven processes that nobody asks anything
        "PYTHONUNBUFFERED": "1",
    }


def serving(home: Path) -> dict[str, str] | None:
    """What ``gradeline serve`` says of itself where it serves this workspace and answers."""
    try:
        served: dict[str, str] = json.loads((home / SERVING).read_text("utf-8"))
        with urlopen(f"{served['prefect_api']}/health", timeout=5) as answer:  # noqa: S310
            return served if answer.status == 200 else None
    except (OSError, ValueError, KeyError):
        return None


def prefect_api() -> str | None:
    """The Prefect server that the user has chosen."""
    return os.environ.get("PREFECT_API_URL")


def _prefect_home(settings: Settings) -> str:
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = settings.home / "prefect"
    folder.mkdir(exist_ok=True)
    return str(folder)
