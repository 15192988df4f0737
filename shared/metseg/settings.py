"""Every setting of every service, read once from the environment with the prefix `METSEG_`.

A secret may lie in a file instead: METSEG_S3_ACCESS_KEY_FILE, METSEG_S3_SECRET_KEY_FILE and METSEG_API_KEY_FILE name
files that hold nothing else. A variable takes precedence over its file.
"""

import os
from functools import cache
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, Field, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict
from typing_extensions import override

MIB = 2**20
IN_FILES: Final = ("s3_access_key", "s3_secret_key", "api_key")
CONSTANTS: Final = ("s3_timeout_s", "redis_timeout_s", "disk_reserve_bytes", "limits")


class Limits(BaseModel):
    """The most that one submission may hold. Checked before anything of that size is allocated."""

    upload_bytes: int = Field(default=512 * MIB, ge=1)
    files: int = Field(default=128, ge=1, description="files of one upload; more slices come in an archive")
    members: int = Field(default=4096, ge=1, description="files inside an archive, masks and folders included")
    slices: int = Field(default=1024, ge=1)
    slice_pixels: int = Field(default=4096 * 4096, ge=256, description="rows times columns of one slice")
    volume_pixels: int = Field(default=256 * 2**20, ge=256, description="rows times columns times slices")
    expanded_bytes: int = Field(default=2048 * MIB, ge=1, description="an archive's content, expanded")
    expansion_ratio: int = Field(default=200, ge=1, description="expanded over packed bytes, of a large archive")


class Environment(EnvSettingsSource):
    """The variables, but for constants that only a caller (a test) changes."""

    def __call__(self) -> dict[str, Any]:
        """The values by field."""
        return {name: value for name, value in super().__call__().items() if name not in CONSTANTS}


class SecretFiles(PydanticBaseSettingsSource):
    """The secrets that are kept in files."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The content of a field's file; None where no file is named.

        Args:
            field: not used.
            field_name: of the setting.

        Returns:
            The value, the field's name, and that the value is not JSON.

        Raises:
            SystemExit: the file cannot be read; a process cannot start without its settings.
        """
        variable = f"METSEG_{field_name.upper()}_FILE"
        name = os.environ.get(variable) if field_name in IN_FILES else None
        if not name:
            return None, field_name, False
        try:
            return Path(name).read_text(encoding="utf-8").strip(), field_name, False
        except (OSError, UnicodeDecodeError) as error:
            raise SystemExit(f"metseg: {variable} names {name}, which cannot be read as text.") from error

    def __call__(self) -> dict[str, Any]:
        """The secrets in files, by field."""
        found = {name: self.get_field_value(field, name)[0] for name, field in self.settings_cls.model_fields.items()}
        return {name: value for name, value in found.items() if value is not None}


class Settings(BaseSettings):
    """The settings. The defaults suit `make local`; docker-compose.yml sets the rest."""

    model_config = SettingsConfigDict(env_prefix="METSEG_", secrets_dir=None, env_ignore_empty=True)

    store_directory: Path | None = Field(default=None, description="objects in a folder; set this or s3_endpoint")
    s3_endpoint: str | None = Field(default=None, description="host:port of any S3, or https://host[:port]")
    s3_bucket: str = "metseg"
    s3_access_key: str = ""
    s3_secret_key: SecretStr = SecretStr("")
    s3_timeout_s: float = 5.0

    redis_url: str = "redis://127.0.0.1:6379/0"
    redis_timeout_s: float = 5.0

    api_keys_file: Path | None = Field(
        default=None, description="who may use the gateway; None: everyone who reaches it"
    )
    api_address: str = Field(default="", description="of the host, where the gateway's container is published")
    hosts: str = Field(default="", description="names of the site with a dot, apart from addresses; comma-separated")
    api_key: SecretStr = Field(default=SecretStr(""), description="the page's own")
    gateway_url: str = Field(default="http://127.0.0.1:8000", description="where the page finds the gateway")
    job_days: int = Field(default=7, ge=1, description="days until a job's input and results expire")
    job_time_limit_s: int = Field(default=1800, ge=10, description="after which a running job is stopped")
    queue_limit: int = Field(default=256, ge=1, description="jobs that may wait; more are refused")
    key_jobs_per_minute: int = Field(default=300, ge=1, description="submissions of one API key")
    key_open_jobs: int = Field(default=128, ge=1, description="jobs of one API key that wait or run")
    disk_reserve_bytes: int = Field(default=2**30, ge=0, description="left free on the disks of spool and store")
    threads: int | None = Field(default=None, ge=1, description="None: the CPU quota of this container")
    limit_upload_bytes: int = Field(default=512 * MIB, ge=1, description="of one submission")
    limits: Limits = Field(default_factory=lambda chosen: Limits(upload_bytes=chosen["limit_upload_bytes"]))

    @property
    def host_names(self) -> frozenset[str]:
        """The names in `hosts`, without scheme and port."""
        names = (each.partition("://")[2] or each for each in self.hosts.lower().replace(",", " ").split())
        return frozenset(name.partition("/")[0].partition(":")[0] for name in names)

    @property
    def s3_secure(self) -> bool:
        """Whether the store is reached by HTTPS."""
        return (self.s3_endpoint or "").startswith("https://")

    @property
    def s3_host(self) -> str:
        """The store's host:port, without a scheme."""
        return (self.s3_endpoint or "").removeprefix("https://").removeprefix("http://").rstrip("/")

    @classmethod
    @override
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first, then the environment, then the files that it names."""
        return init_settings, Environment(settings_cls), SecretFiles(settings_cls)


@cache
def settings() -> Settings:
    """The settings of this process, read at the first call."""
    return Settings()
