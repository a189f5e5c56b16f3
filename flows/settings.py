"""What differs from machine to machine: the one place that reads the environment."""

import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


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
    def responses(self) -> Path:
        """The Parquet files that hold the responses."""
        return self.home / "responses"

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
        """Plans and scored parts of runs not yet committed."""
        return self.home / "parts"

    @property
    def reports(self) -> Path:
        """HTML reports, one per run."""
        return self.home / "reports"

    @property
    def thresholds(self) -> Path:
        """The workspace's own limits; where the file is absent, the packaged ones hold."""
        return self.home / "thresholds.yaml"

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
    settings = Settings() if home is None else Settings(home=home)
    return settings.model_copy(update={"home": settings.home.expanduser().resolve()})


def prepare_libraries(settings: Settings) -> None:
    """Give Prefect and MLflow the settings they read from the environment when imported.

    Only defaults: what the user has set stays. Without a Prefect server, Prefect starts a
    temporary one per command and keeps its database inside the workspace, which is made here.
    """
    prefect_home = settings.home / "prefect"
    defaults = {
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_CLI_COLORS": "false",
        "DO_NOT_TRACK": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "true",
    }
    if "PREFECT_API_URL" not in os.environ:
        defaults["PREFECT_HOME"] = str(prefect_home)
        settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        prefect_home.mkdir(exist_ok=True)
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
