"""The data folder of one installation: lock, secrets, short folders for sockets."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import pwd
import re
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.runtime import RuntimeFailure

# sun_path holds 108 bytes on Linux and 104 on macOS, with the closing NUL
SOCKET_PATH_LIMIT = 103
PLAIN = re.compile(r"[A-Za-z0-9._/+-]+")


class DataDir:
    """A folder that one supervisor at a time owns."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path).absolute()
        self._lock_fd: int | None = None
        self.unclean = False

    def create(self) -> None:
        """Make the folder. Raises RuntimeFailure where that is not possible."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / "run").mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise RuntimeFailure(f"The data folder {self.path} cannot be used: {error.strerror}.") from None
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise RuntimeFailure(f"The data folder {self.path} is not writable for this user.")

    def lock(self) -> None:
        """Take the folder until this process ends, however it ends (flock: nothing stale can block).

        Sets ``unclean`` when the last holder did not release it. Raises RuntimeFailure while another holds it.
        """
        self.create()
        lock = self.path / "lock"
        if lock.exists() and lock.stat().st_uid != os.geteuid():
            raise RuntimeFailure(
                f"The data folder {self.path} belongs to {_name(lock.stat().st_uid)}; run as that user or give another "
                "--data-dir."
            )
        try:
            fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise RuntimeFailure(f"The data folder {self.path} cannot be locked: {error.strerror}.") from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).decode(errors="replace").strip()
            os.close(fd)
            process = f" (process {holder})" if holder else ""
            raise RuntimeFailure(
                f"Consilium is already running on {self.path}{process}; stop it first or give "
                "another --data-dir."
            ) from None
        self.unclean = bool(os.pread(fd, 32, 0).strip())
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._lock_fd = fd

    def release(self) -> None:
        """Mark the end as clean and let go.

        Unlocking before closing: a child between its fork and its exec still holds a copy of the descriptor.
        """
        if self._lock_fd is not None:
            os.ftruncate(self._lock_fd, 0)
            fcntl.flock(self._lock_fd, fcntl.LOCK_UN)
            os.close(self._lock_fd)
            self._lock_fd = None

    def socket_dir(self, longest_name: str) -> Path:
        """A folder of mode 0700 whose sockets' paths fit: inside the data folder, else a private one in the temp dir.

        The name depends on the data folder only, so that the next start finds a left-over socket again. Only plain
        characters: redis-py cannot read a reply of CLIENT INFO in which the socket's path has a space.
        """
        inside = self.path / "run"
        if len(os.fsencode(inside / longest_name)) <= SOCKET_PATH_LIMIT and PLAIN.fullmatch(str(inside)):
            inside.mkdir(mode=0o700, exist_ok=True)
            return inside
        digest = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:12]
        for base in ("/tmp", "/var/tmp", tempfile.gettempdir()):  # noqa: S108 - mode and owner are checked below
            folder = Path(base) / f"consilium-{os.geteuid()}-{digest}"
            if len(os.fsencode(folder / longest_name)) > SOCKET_PATH_LIMIT:
                continue
            try:
                folder.mkdir(mode=0o700, exist_ok=True)
            except OSError:
                continue
            info = folder.lstat()
            if (
                not folder.is_symlink()
                and info.st_uid in {os.geteuid(), *_owners(self.path)}
                and not info.st_mode & 0o077
            ):
                return folder
        raise RuntimeFailure(
            f"The path {self.path} is too long for sockets and no temporary folder is usable; give a "
            "shorter --data-dir."
        )


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _owners(path: Path) -> set[int]:
    """Who may own our socket folder besides us: the account the embedded server ran under."""
    cluster = path / "postgres"
    return {cluster.stat().st_uid} if cluster.exists() else set()


SECRET_MAKERS: dict[str, Callable[[], str]] = {
    "SECRET_KEY": lambda: secrets.token_hex(32),
    "AUTH_CONFIG_ENCRYPTION_KEY": lambda: "local1:" + base64.b64encode(secrets.token_bytes(32)).decode(),
    "ERASURE_SALT": lambda: secrets.token_hex(32),
}


@contextmanager
def secret_store(data_dir: Path | str) -> Iterator[dict[str, Any]]:
    """The dictionary of ``secrets.json`` (mode 0600), written back atomically when it changed.

    Callers in other processes wait. Raises RuntimeFailure when the file is not readable as JSON.
    """
    folder = Path(data_dir).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "secrets.json"
    fd = os.open(folder / "secrets.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        try:
            before = path.read_text() if path.exists() else "{}"
            values: dict[str, Any] = json.loads(before)
        except (OSError, ValueError) as error:
            raise RuntimeFailure(f"{path} cannot be read ({error}); restore it from a backup.") from None
        yield values
        after = json.dumps(values, indent=2, sort_keys=True) + "\n"
        if after != before:
            new = folder / "secrets.json.new"
            with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as handle:
                handle.write(after)
                handle.flush()
                os.fsync(handle.fileno())
            new.replace(path)
    finally:
        os.close(fd)


def local_secrets(data_dir: Path | str) -> dict[str, str]:
    """Secrets for development, made once per data folder: names of settings and their values."""
    with secret_store(data_dir) as values:
        for name, make in SECRET_MAKERS.items():
            values.setdefault(name, make())
        return {name: values[name] for name in SECRET_MAKERS}
