"""Alembic's configuration, for the command line, tests and the readiness check."""

from __future__ import annotations

from pathlib import Path

from alembic.config import Config

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"


def alembic_config(owner_url: str) -> Config:
    """Configuration that migrates *owner_url*."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["owner_url"] = owner_url
    return config
