"""Every setting of every service, read once from the environment with the prefix `METSEG_`."""

from functools import cache
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

MIB = 2**20


class Limits(BaseSettings):
    """What one submission may weigh. Checked before anything of that size is allocated."""

    model_config = SettingsConfigDict(env_prefix="METSEG_LIMIT_")

    upload_bytes: int = Field(default=512 * MIB, ge=1)
    files: int = Field(default=128, ge=1, description="files of one upload; more slices come in an archive")
    members: int = Field(default=4096, ge=1, description="files inside an archive, masks and folders included")
    slices: int = Field(default=1024, ge=1)
    slice_pixels: int = Field(default=4096 * 4096, ge=256, description="rows times columns of one slice")
    volume_pixels: int = Field(default=256 * 2**20, ge=256, description="rows times columns times slices")
    expanded_bytes: int = Field(default=2048 * MIB, ge=1, description="an archive's content, expanded")
    expansion_ratio: int = Field(default=200, ge=1, description="an archive's expanded over its packed bytes")


class Settings(BaseSettings):
    """Where things are. The defaults suit `make local`; docker-compose.yml sets the rest."""

    model_config = SettingsConfigDict(env_prefix="METSEG_", secrets_dir=None, env_ignore_empty=True)

    store_directory: Path | None = Field(default=None, description="objects in a folder; set this or s3_endpoint")
    s3_endpoint: str | None = Field(default=None, description="host:port of any S3")
    s3_bucket: str = "metseg"
    s3_access_key: str = ""
    s3_secret_key: SecretStr = SecretStr("")
    s3_secure: bool = False
    s3_timeout_s: float = 5.0

    redis_url: str = "redis://127.0.0.1:6379/0"
    redis_timeout_s: float = 5.0

    api_keys_file: Path | None = Field(default=None, description="who may use the gateway; None: who reaches it")
    published_address: str = Field(default="", description="of the host, where a container's port is published")
    api_key: SecretStr = Field(default=SecretStr(""), description="the page's own")
    gateway_url: str = Field(default="http://127.0.0.1:8000", description="where the page finds the gateway")
    job_days: int = Field(default=7, ge=1, description="days until a job's input and results expire")
    job_time_limit_s: int = Field(default=1800, ge=10, description="after which a running job is stopped")
    threads: int | None = Field(default=None, ge=1, description="None: the CPU quota of this container")
    limits: Limits = Field(default_factory=Limits)


@cache
def settings() -> Settings:
    """The settings of this process, read at the first call."""
    return Settings()
