"""Supervision, with toy children in a supervisor process of their own (it needs a main thread and its signals)."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

DEADLINE = 15.0

HEAD = """
import os, signal, sys
from app.runtime import RuntimeFailure
from app.runtime.supervisor import Program, StopRequested, Supervisor
def toy(name, code, **kw):
    return Program(name, [sys.executable, "-S", "-u", "-c", "import os,sys,time,signal\\n" + code], **kw)
def guarded(body):
    try:
        with Supervisor(first_pause=0.01, longest_pause=0.05) as s:
            try:
                body(s)
            except StopRequested:
                pass
        print("clean", flush=True)
    except RuntimeFailure as error:
        print("failed:", error, flush=True)
        sys.exit(1)
"""


class Running:
    """A supervisor under test: its output line by line, its process."""

    def __init__(self, script: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-c", HEAD + textwrap.dedent(script)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: queue.Queue[str] = queue.Queue()
        self.seen: list[str] = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))

    def line(self, part: str) -> str:
        """The next line that holds *part*."""
        end = time.monotonic() + DEADLINE
        while True:
            try:
                text = self.lines.get(timeout=max(0.01, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no line with {part!r} in {self.seen}") from None
            self.seen.append(text)
            if part in text:
                return text

    def pid(self, name: str) -> int:
        """The number a toy called *name* printed as 'pid N'."""
        return int(self.line(f"{name} | pid ").rpartition(" ")[2])

    def end(self) -> int:
        """Wait for the supervisor; its exit status."""
        return self.process.wait(DEADLINE)


@pytest.fixture
def supervise() -> Iterator[Callable[[str], Running]]:
    started: list[Running] = []

    def start(script: str) -> Running:
        started.append(Running(script))
        return started[-1]

    yield start
    for running in started:
        running.process.kill()
        running.process.wait()


def gone(pid: int) -> bool:
    """Whether *pid* ended within the deadline (a zombie waiting for its parent counts as ended)."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        threading.Event().wait(0.02)
    return False


SLEEPER = "print('pid', os.getpid()); time.sleep(60)"


def test_a_killed_child_comes_back_and_sigterm_ends_cleanly(supervise: Callable[[str], Running]) -> None:
    running = supervise(f"guarded(lambda s: (s.start(toy('toy', {SLEEPER!r})), s.run()))")
    first = running.pid("toy")
    os.kill(first, signal.SIGKILL)
    running.line("toy ended with signal 9; restarting")
    second = running.pid("toy")
    assert second != first
    running.process.terminate()
    assert running.end() == 0
    running.line("clean")
    assert gone(second)


def test_a_child_that_keeps_dying_stops_everything(supervise: Callable[[str], Running]) -> None:
    running = supervise(
        f"guarded(lambda s: (s.start(toy('good', {SLEEPER!r})), s.start(toy('bad', 'sys.exit(3)')), s.run()))"
    )
    good = running.pid("good")
    running.line("failed: bad ended 6 times within 60 seconds (last: exit status 3)")
    assert running.end() == 1
    assert gone(good)
    assert sum("restarting" in line for line in running.seen) == 5


def test_kill_9_of_the_supervisor_leaves_nothing(supervise: Callable[[str], Running]) -> None:
    running = supervise(
        f"guarded(lambda s: (s.start(toy('a', {SLEEPER!r})), s.start(toy('b', {SLEEPER!r})), s.run()))"
    )
    pids = [int(running.line(" | pid ").rpartition(" ")[2]) for _ in range(2)]
    running.process.kill()
    assert all(gone(pid) for pid in pids)


def test_a_deaf_child_is_killed_with_its_descendants(supervise: Callable[[str], Running]) -> None:
    deaf = (
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "name = 'pid' if os.fork() else 'child'\n"
        "print(name, os.getpid()); time.sleep(60)"
    )
    running = supervise(f"guarded(lambda s: (s.start(toy('deaf', {deaf!r}, stop_timeout=0.2)), s.run()))")
    pids = [int(running.line("deaf | ").rpartition(" ")[2]) for _ in range(2)]
    running.process.send_signal(signal.SIGINT)
    assert running.end() == 0
    assert all(gone(pid) for pid in pids)


def test_a_second_signal_skips_the_waiting(supervise: Callable[[str], Running]) -> None:
    deaf = "signal.signal(signal.SIGTERM, lambda *a: print('no')); print('pid', os.getpid())\nwhile True: time.sleep(60)"
    running = supervise(f"guarded(lambda s: (s.start(toy('deaf', {deaf!r}, stop_timeout=600)), s.run()))")
    running.pid("deaf")
    running.process.terminate()
    running.line("deaf | no")
    running.process.terminate()
    assert running.end() == 0


def test_children_stop_by_rank(supervise: Callable[[str], Running]) -> None:
    polite = (
        "signal.signal(signal.SIGTERM, lambda *a: (print('bye'), sys.exit(0))); print('up')\ntime.sleep(60)"
    )
    running = supervise(f"""
        def body(s):
            s.start(toy('database', {polite!r}, rank=0))
            s.start(toy('web', {polite!r}))
            s.run()
        guarded(body)
        """)
    for _ in range(2):
        running.line("| up")
    running.process.terminate()
    assert "web" in running.line("| bye")
    assert "database" in running.line("| bye")
    assert running.end() == 0


def test_output_is_prefixed_and_an_unfinished_last_line_is_kept(supervise: Callable[[str], Running]) -> None:
    running = supervise("""
        guarded(lambda s: print('status', s.run_once(toy('job', "sys.stdout.write('one\\\\ntwo')"), check=False)))
        """)
    assert running.line("one") == "      job | one"
    assert running.line("two") == "      job | two"
    running.line("status 0")
    assert running.end() == 0


def test_a_failing_step_is_one_sentence(supervise: Callable[[str], Running]) -> None:
    running = supervise("guarded(lambda s: s.run_once(toy('step', 'sys.exit(7)')))")
    running.line("failed: step failed (exit status 7)")
    assert running.end() == 1


def test_being_told_to_stop_ends_a_step_under_way(supervise: Callable[[str], Running]) -> None:
    running = supervise(f"guarded(lambda s: s.run_once(toy('step', {SLEEPER!r})))")
    pid = running.pid("step")
    running.process.terminate()
    assert running.end() == 0
    assert gone(pid)


def test_waiting_has_an_end(supervise: Callable[[str], Running]) -> None:
    running = supervise("guarded(lambda s: s.wait_for(lambda: False, 0.1, 'The toy server'))")
    running.line("failed: The toy server did not get ready")
    assert running.end() == 1
