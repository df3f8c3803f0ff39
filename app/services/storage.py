"""Where files lie: one interface over a local folder or an object store (fsspec), chosen by STORAGE_URL.

``s3://bucket/prefix`` takes credentials, region and endpoint from the AWS_* variables, as every S3 client does. A key
is ``<owner>/<name>``; anything else is refused before a path is made of it.
"""

from __future__ import annotations

import re
from typing import Any

import fsspec
from sqlalchemy import event as hooks
from sqlalchemy.orm import Session

from app.errors import DomainError
from app.logs import log
from app.services import outbox

TOPIC = "storage.delete"
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
KEY = re.compile(rf"{UUID}/[a-z]{{1,20}}-{UUID}")


class Storage:
    """Files below one base address. Every method raises STORAGE_UNAVAILABLE when the store does not answer."""

    def __init__(self, url: str) -> None:
        self.url = url

    def _at(self, key: str) -> tuple[Any, str]:
        if not KEY.fullmatch(key):
            raise ValueError("not a key of stored files")
        filesystem, root = fsspec.core.url_to_fs(self.url, **self._options())
        return filesystem, f"{root.rstrip('/')}/{key}"

    def _options(self) -> dict[str, Any]:
        if not self.url.startswith("s3://"):
            return {"auto_mkdir": True}
        patience = {"connect_timeout": 5, "read_timeout": 15, "retries": {"max_attempts": 2}}
        return {"use_listings_cache": False, "config_kwargs": patience}

    def write(self, key: str, data: bytes, content_type: str) -> None:
        """Store *data* under *key*."""
        filesystem, path = self._at(key)
        extra = {"ContentType": content_type} if self.url.startswith("s3://") else {}
        try:
            filesystem.pipe_file(path, data, **extra)
        except Exception as error:
            raise _away("write", error) from None

    def read(self, key: str) -> bytes | None:
        """The bytes under *key*; None when there is no such file."""
        filesystem, path = self._at(key)
        try:
            return bytes(filesystem.cat_file(path))
        except FileNotFoundError:
            return None
        except Exception as error:
            raise _away("read", error) from None

    def delete(self, key: str) -> None:
        """Remove *key*; a file that is gone already is fine."""
        filesystem, path = self._at(key)
        try:
            filesystem.rm_file(path)
        except FileNotFoundError:
            return
        except Exception as error:
            raise _away("delete", error) from None


def _away(what: str, error: Exception) -> DomainError:
    """Whatever a store says, callers learn one thing; the log keeps the kind."""
    log.error("storage_failed", what=what, error=type(error).__name__)
    return DomainError("STORAGE_UNAVAILABLE")


def write_with(session: Session, storage: Storage, key: str, data: bytes, content_type: str) -> None:
    """Store *data* now; it is removed again should the transaction of *session* not commit."""
    session.info.setdefault("written_files", []).append((storage, key))
    storage.write(key, data, content_type)


def delete_later(session: Session, key: str | None) -> None:
    """Remove *key* once the transaction has committed, through the outbox."""
    if key and KEY.fullmatch(key):
        outbox.put(session, TOPIC, {"key": key})


@hooks.listens_for(Session, "after_commit")
def _keep(session: Session) -> None:
    session.info.pop("written_files", None)


@hooks.listens_for(Session, "after_rollback")
def _sweep(session: Session) -> None:
    for storage, key in session.info.pop("written_files", []):
        try:
            storage.delete(key)
        except DomainError:
            log.warning("file_left_behind", key=key)
