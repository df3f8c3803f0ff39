"""What happens between fork and exec of a child: death signal, and a server account where we are root."""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from app.runtime import RuntimeFailure

PR_SET_PDEATHSIG = 1
CLONE_NEWUSER = 0x10000000
_libc = ctypes.CDLL(None, use_errno=True)  # loaded before any fork: dlopen in a forked child may deadlock


def set_death_signal(sig: int, parent: int) -> None:
    """Have the kernel send *sig* to this process when its parent dies (Linux; elsewhere nothing happens).

    *parent* is the pid expected to be our parent: when it died between fork and this call, we end at once.
    """
    if sys.platform != "linux":
        return
    _libc.prctl(PR_SET_PDEATHSIG, sig, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(128 + signal.SIGTERM)


@dataclass(frozen=True)
class ServerAccount:
    """How PostgreSQL, which refuses to run as root, runs when we are root.

    ``namespace``: in a user namespace where our own uid reads as *uid*. Files stay ours, only we reach the sockets, and
    folders closed to others (/root, a mode 0700 temporary folder) work. Where the kernel or a container forbids that,
    the process becomes *uid* for real and must be able to reach its files. Without root: ``uid`` is our own.
    """

    uid: int
    gid: int
    namespace: bool = False

    @property
    def owner(self) -> tuple[int, int]:
        """The (uid, gid) that must own the server's files as seen from outside."""
        return (os.geteuid(), os.getegid()) if self.namespace else (self.uid, self.gid)

    def enter(self) -> None:
        """Become this account; called in the child, between fork and exec."""
        if os.geteuid() != 0:
            return
        if self.namespace:
            _enter_namespace(self.uid, self.gid)
        else:
            os.setgroups([])
            os.setresgid(self.gid, self.gid, self.gid)
            os.setresuid(self.uid, self.uid, self.uid)


def _enter_namespace(uid: int, gid: int) -> None:
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    if _libc.unshare(CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{uid} {outer_uid} 1"),
        ("gid_map", f"{gid} {outer_gid} 1"),
    ):
        fd = os.open(f"/proc/self/{name}", os.O_WRONLY)
        os.write(fd, text.encode())
        os.close(fd)


@cache
def _namespaces_work(uid: int, gid: int) -> bool:
    if sys.platform != "linux":
        return False
    pid = os.fork()
    if pid == 0:
        try:
            _enter_namespace(uid, gid)
            os._exit(0 if os.geteuid() == uid else 1)
        except BaseException:
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0


def server_account() -> ServerAccount:
    """The account for embedded PostgreSQL.

    Raises RuntimeFailure where we are root and the machine knows no other account.
    """
    if os.geteuid() != 0:
        return ServerAccount(os.geteuid(), os.getegid())
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return ServerAccount(entry.pw_uid, entry.pw_gid, _namespaces_work(entry.pw_uid, entry.pw_gid))
    raise RuntimeFailure(
        "PostgreSQL refuses to run as root and there is neither a postgres nor a nobody account: "
        "run as an ordinary user, or set DATABASE_URL."
    )


def reachable(path: Path, uid: int, gid: int) -> bool:
    """Whether *uid* may walk to *path*: execute permission on each folder above it, by mode bits."""
    for folder in Path(os.path.realpath(path)).parents:
        info = folder.stat()
        bit = 0o100 if info.st_uid == uid else 0o010 if info.st_gid == gid else 0o001
        if not info.st_mode & bit:
            return False
    return True


def preexec(account: ServerAccount | None, death_signal: int, new_group: bool = True) -> Callable[[], None]:
    """A function for ``subprocess.Popen(preexec_fn=...)``; only for a single-threaded parent."""
    parent = os.getpid()

    def run() -> None:
        if new_group:
            os.setpgid(0, 0)
        if account is not None:
            account.enter()  # before the death signal: changing credentials clears it
        set_death_signal(death_signal, parent)
        for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(sig, signal.SIG_DFL)

    return run
