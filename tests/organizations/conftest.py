"""Fixtures of this domain."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest


@pytest.fixture
def hosting(app: Any) -> Iterator[None]:
    """ENABLE_HOST_ORGS on for one test."""
    before = app.config["SETTINGS"]
    app.config["SETTINGS"] = replace(before, enable_host_orgs=True)
    yield
    app.config["SETTINGS"] = before


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """A real S3 peer: moto's server, a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 60
    ready = threading.Event()
    while time.monotonic() < deadline and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            ready.wait(0.1)
    assert server.poll() is None, "the S3 peer did not start"
    yield url
    server.terminate()
    server.wait(10)


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Address of an empty bucket's folder at the S3 peer."""
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    s3fs.S3FileSystem.clear_instance_cache()
    bucket = f"files-{uuid.uuid4()}"
    s3fs.S3FileSystem().mkdir(bucket)
    return f"s3://{bucket}/consilium"
