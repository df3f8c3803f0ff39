"""Consilium: the console, the REST API and the jobs of an expert-consultation marketplace.

``create_app()`` builds one application; nothing happens at import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from config import Settings


def create_app(settings: Settings | None = None) -> Flask:
    """Build the application from *settings* (default: the environment). Raises config.SettingsError."""
    from app.factory import build
    from config import load

    return build(settings or load())
