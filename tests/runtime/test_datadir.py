"""The data folder: one owner at a time, secrets that stay, sockets whose paths fit; and the port check."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from app.runtime import RuntimeFailure
from app.runtime.datadir import SOCKET_PATH_LIMIT, DataDir, local_secrets
from app.runtime.up import check_port

HOLDER = """
import sys, time
from app.runtime.datadir import DataDir
DataDir(sys.argv[1]).lock()
print("held", flush=True)
time.sleep(60)
"""


def hold(folder: Path) -> subprocess.Popen[str]:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_a_second_start_is_refused_and_a_killed_first_never_blocks(tmp_path: Path) -> None:
    holder = hold(tmp_path)
    with pytest.raises(RuntimeFailure, match=rf"already running on .* \(process {holder.pid}\)"):
        DataDir(tmp_path).lock()
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    second = DataDir(tmp_path)
    second.lock()
    assert second.unclean
    second.release()
    third = DataDir(tmp_path)
    third.lock()
    assert not third.unclean
    third.release()


def test_the_lock_is_not_inherited_by_children(tmp_path: Path) -> None:
    first = DataDir(tmp_path)
    first.lock()
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
    first.release()
    try:
        again = DataDir(tmp_path)
        again.lock()
        again.release()
    finally:
        child.communicate(b"\n")


def test_a_file_in_the_way_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RuntimeFailure, match="cannot be used"):
        DataDir(tmp_path / "file" / "data").lock()


def test_a_folder_of_another_user_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lock").write_text("")
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    with pytest.raises(RuntimeFailure, match="belongs to"):
        DataDir(tmp_path).lock()


def test_secrets_are_made_once_and_private(tmp_path: Path) -> None:
    first = local_secrets(tmp_path)
    assert set(first) == {"SECRET_KEY", "AUTH_CONFIG_ENCRYPTION_KEY", "ERASURE_SALT"}
    assert local_secrets(tmp_path) == first
    assert (tmp_path / "secrets.json").stat().st_mode & 0o777 == 0o600
    (tmp_path / "secrets.json").write_text("{broken")
    with pytest.raises(RuntimeFailure, match="cannot be read"):
        local_secrets(tmp_path)


@pytest.mark.parametrize("name", ["x" * 120, "with space", "ümlaut"])
def test_sockets_fit_however_the_folder_is_called(tmp_path: Path, name: str) -> None:
    data = DataDir(tmp_path / name)
    data.create()
    folder = data.socket_dir(".s.PGSQL.5432.lock")
    try:
        assert len(os.fsencode(folder / ".s.PGSQL.5432.lock")) <= SOCKET_PATH_LIMIT
        assert str(folder).isascii() and " " not in str(folder)
        assert folder.stat().st_mode & 0o777 == 0o700
        assert DataDir(tmp_path / name).socket_dir(".s.PGSQL.5432.lock") == folder
    finally:
        if folder.parent != data.path:
            folder.rmdir()


def test_a_busy_port_is_one_sentence_and_a_free_one_passes() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(RuntimeFailure, match=f"Port {port} is in use"):
            check_port("127.0.0.1", port)
    check_port("127.0.0.1", port)


def test_an_address_of_another_machine_is_one_sentence() -> None:
    with pytest.raises(RuntimeFailure, match="cannot be used"):
        check_port("192.0.2.1", 8080)
