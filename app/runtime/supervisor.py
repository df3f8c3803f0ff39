"""Starts, watches, restarts and stops child processes. One thread, one event loop, no helper processes.

A child is restarted when it dies, with growing pauses; too many deaths in a short time stop everything. Each child has
a process group of its own (Ctrl-C in a terminal reaches only us) and a death signal from the kernel, so that not even
kill -9 of the supervisor leaves anything alive on Linux.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from app.runtime import RuntimeFailure
from app.runtime.spawn import ServerAccount, preexec

COLOURS = (36, 33, 32, 35, 34, 31)
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class StopRequested(Exception):
    """SIGTERM, SIGINT or SIGHUP arrived while something was awaited."""


@dataclass
class Program:
    """What to run and how to end it. Times are seconds."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str] | None = None
    cwd: Path | None = None
    account: ServerAccount | None = None
    stop_signal: int = signal.SIGTERM
    stop_timeout: float = 10.0
    insist_signal: int = signal.SIGKILL  # after stop_timeout; SIGKILL follows 5 s later in any case
    death_signal: int = signal.SIGKILL  # when the supervisor dies
    rank: int = 2  # stopped in this order, highest first
    own_group: bool = True
    pipe: bool = True  # False: writes to our own output, unprefixed
    before_start: Callable[[], None] | None = None
    quiet: Callable[[str], bool] = lambda line: False  # log lines not worth showing


@dataclass
class _Child:
    program: Program
    colour: int
    process: subprocess.Popen[bytes] | None = None
    buffer: bytes = b""
    deaths: deque[float] = field(default_factory=deque)
    start_at: float | None = None
    once: bool = False

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None


def describe_exit(code: int) -> str:
    """'exit status 3' or 'signal 9' for a ``Popen.returncode``."""
    return f"signal {-code}" if code < 0 else f"exit status {code}"


class Supervisor:
    """Runs programs until told to stop. Use as a context manager: leaving it stops everything."""

    def __init__(
        self,
        out: TextIO | None = None,
        *,
        max_deaths: int = 5,
        window: float = 60.0,
        first_pause: float = 0.25,
        longest_pause: float = 8.0,
    ) -> None:
        self.out = out or sys.stdout
        self.max_deaths, self.window = max_deaths, window
        self.first_pause, self.longest_pause = first_pause, longest_pause
        self.children: dict[str, _Child] = {}
        self.stop_signals = 0
        self._selector = selectors.DefaultSelector()
        self._read_wakeup, self._write_wakeup = socket.socketpair()
        self._old_handlers: dict[int, object] = {}
        self._coloured = self.out.isatty() and not os.environ.get("NO_COLOR")

    # --- life

    def __enter__(self) -> Supervisor:
        self._read_wakeup.setblocking(False)
        self._write_wakeup.setblocking(False)
        self._old_wakeup = signal.set_wakeup_fd(self._write_wakeup.fileno(), warn_on_full_buffer=False)
        for sig in STOP_SIGNALS:
            self._old_handlers[sig] = signal.signal(sig, self._on_stop)
        self._old_handlers[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        self._selector.register(self._read_wakeup, selectors.EVENT_READ)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            for sig, handler in self._old_handlers.items():
                signal.signal(sig, handler)  # type: ignore[arg-type]
            signal.set_wakeup_fd(self._old_wakeup)
            self._selector.close()
            self._read_wakeup.close()
            self._write_wakeup.close()

    def _on_stop(self, signum: int, frame: object) -> None:
        self.stop_signals += 1

    def say(self, text: str, name: str = "consilium", colour: int = 37) -> None:
        """Print one prefixed line; a reader of our output that went away is ignored."""
        prefix = f"{name:>9} | "
        if self._coloured:
            prefix = f"\x1b[{colour}m{prefix}\x1b[0m"
        with contextlib.suppress(BrokenPipeError, ValueError):
            self.out.write(f"{prefix}{text}\n")
            self.out.flush()

    # --- starting

    def start(self, program: Program) -> None:
        """Start *program* and keep it running from now on."""
        child = _Child(program, COLOURS[len(self.children) % len(COLOURS)])
        self.children[program.name] = child
        self._spawn(child)

    def run_once(self, program: Program, check: bool = True) -> int:
        """Run *program* to its end while everything else is looked after; return its exit status.

        Raises RuntimeFailure when *check* and the status is not 0, StopRequested when told to stop meanwhile.
        """
        child = _Child(program, 37, once=True)
        self.children[program.name] = child
        self._spawn(child)
        try:
            self.wait_for(lambda: not child.alive, None, program.name)
        finally:
            if not child.alive:
                self._drain(child)
                del self.children[program.name]
        assert child.process is not None
        code = child.process.returncode
        if check and code != 0:
            raise RuntimeFailure(f"{program.name} failed ({describe_exit(code)}); the lines above say why.")
        return code

    def _spawn(self, child: _Child) -> None:
        program = child.program
        child.start_at = None
        if program.before_start is not None:
            program.before_start()
        output = subprocess.PIPE if program.pipe else None
        child.process = subprocess.Popen(
            list(program.command),
            env=None if program.env is None else dict(program.env),
            cwd=program.cwd,
            stdin=subprocess.DEVNULL if program.pipe else None,
            stdout=output,
            stderr=subprocess.STDOUT if program.pipe else None,
            preexec_fn=preexec(program.account, program.death_signal, program.own_group),
        )
        if child.process.stdout is not None:
            os.set_blocking(child.process.stdout.fileno(), False)
            self._selector.register(child.process.stdout, selectors.EVENT_READ, child)

    # --- the loop

    def wait_for(
        self, condition: Callable[[], bool], timeout: float | None, what: str, poll: float = 0.05
    ) -> None:
        """Look after the children until *condition* holds.

        Raises StopRequested when told to stop, RuntimeFailure after *timeout* seconds or when a child keeps dying.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not condition():
            if self.stop_signals:
                raise StopRequested
            if deadline is not None and time.monotonic() > deadline:
                raise RuntimeFailure(f"{what} did not get ready within {timeout:.0f} seconds.")
            self._turn(poll)

    def run(self) -> None:
        """Look after the children until told to stop. Raises RuntimeFailure when one keeps dying."""
        while not self.stop_signals:
            due = [c.start_at for c in self.children.values() if c.start_at is not None]
            self._turn(max(0.0, min(due) - time.monotonic()) if due else 5.0)

    def _turn(self, timeout: float) -> None:
        for key, _ in self._selector.select(timeout):
            if key.data is None:
                with contextlib.suppress(BlockingIOError):
                    self._read_wakeup.recv(4096)
            else:
                self._read(key.data)
        for child in list(self.children.values()):
            self._watch(child)

    def _watch(self, child: _Child) -> None:
        if child.once:
            return
        now = time.monotonic()
        if child.start_at is not None:
            if now >= child.start_at:
                self._spawn(child)
            return
        if child.alive or child.process is None:
            return
        code = child.process.returncode
        self._drain(child)
        self._kill_group(child)
        child.deaths.append(now)
        while child.deaths[0] < now - self.window:
            child.deaths.popleft()
        if len(child.deaths) > self.max_deaths:
            raise RuntimeFailure(
                f"{child.program.name} ended {len(child.deaths)} times within {self.window:.0f} seconds "
                f"(last: {describe_exit(code)}); everything is stopped."
            )
        pause = min(self.first_pause * 2 ** (len(child.deaths) - 1), self.longest_pause)
        self.say(f"{child.program.name} ended with {describe_exit(code)}; restarting in {pause:.2g} s")
        child.start_at = now + pause

    # --- output

    def _read(self, child: _Child) -> bool:
        """Pass on what the child wrote; False at the end of its output."""
        assert child.process is not None and child.process.stdout is not None
        pipe = child.process.stdout
        try:
            data = os.read(pipe.fileno(), 65536)
        except BlockingIOError:
            return False
        if not data:
            self._selector.unregister(pipe)
            pipe.close()
        *lines, child.buffer = (child.buffer + data).split(b"\n")
        if child.buffer and (not data or len(child.buffer) > 1_000_000):
            lines.append(child.buffer)
            child.buffer = b""
        for raw in lines:
            line = raw.decode(errors="replace").rstrip("\r")
            if not child.program.quiet(line):
                self.say(line, child.program.name, child.colour)
        return bool(data)

    def _drain(self, child: _Child) -> None:
        pipe = child.process.stdout if child.process else None
        while pipe is not None and not pipe.closed and self._read(child):
            pass
        if pipe is not None and not pipe.closed:  # a grandchild still holds the other end
            self._selector.unregister(pipe)
            pipe.close()

    # --- stopping

    def stop(self) -> None:
        """End every child: highest rank first, its stop signal, its time, then force. A further signal from the
        operator skips the waiting for everything but the databases (rank 1 and below)."""
        for rank in sorted({c.program.rank for c in self.children.values()}, reverse=True):
            self._stop_rank([c for c in self.children.values() if c.program.rank == rank], hurry=rank > 1)

    def _stop_rank(self, children: list[_Child], hurry: bool) -> None:
        signals_before = self.stop_signals
        begun = time.monotonic()
        insisted: set[str] = set()
        for child in children:
            child.start_at = None
            if child.alive:
                self._signal(child, child.program.stop_signal)
        while any(c.alive for c in children):
            self._select_output()
            waited = time.monotonic() - begun
            if hurry and self.stop_signals > signals_before:
                waited = float("inf")
            for child in children:
                if not child.alive:
                    continue
                limit = child.program.stop_timeout
                if waited > limit + 5 or (waited > limit and child.program.insist_signal == signal.SIGKILL):
                    self._kill_group(child)
                elif waited > limit and child.program.name not in insisted:
                    insisted.add(child.program.name)
                    self._signal(child, child.program.insist_signal)
        for child in children:
            self._drain(child)
            self._kill_group(child)
            self.children.pop(child.program.name, None)

    def _select_output(self) -> None:
        for key, _ in self._selector.select(0.1):
            if key.data is None:
                with contextlib.suppress(BlockingIOError):
                    self._read_wakeup.recv(4096)
            else:
                self._read(key.data)

    def _signal(self, child: _Child, sig: int) -> None:
        if child.process is not None:
            child.process.send_signal(sig)

    def _kill_group(self, child: _Child) -> None:
        """SIGKILL to whatever is left of the child's process group (the child itself may be gone)."""
        if child.process is None:
            return
        if child.program.own_group:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.process.pid, signal.SIGKILL)
        elif child.alive:
            child.process.kill()
