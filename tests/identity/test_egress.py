"""The egress guard and the key ring."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import socket
import threading
import time

import pytest

from app.errors import DomainError
from app.security import egress, keyring

SEALED_ABOUT = "sso_provider:1:client_secret"


@pytest.fixture
def strict(settings):
    """Settings without the tests' opening."""
    return dataclasses.replace(settings, egress_test_allowlist="")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
        "224.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "240.0.0.1", "192.88.99.1", "::1", "::",
        "fe80::1", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "64:ff9b::7f00:1",
        "64:ff9b:1::1", "2002:7f00:1::", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:db8::1", "::127.0.0.1",
        "fec0::1", "rubbish",
    ],
)  # fmt: skip
def test_what_is_not_public(address):
    assert not egress.is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "203.0.114.1"])
def test_what_is_public(address):
    assert egress.is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "http://8.8.8.8/",
        "https://8.8.8.8:8443/",
        "https://127.0.0.1/",
        "https://localhost/",
        "https://[::1]/",
        "https://169.254.169.254/latest/meta-data",
        "https://user:pass@8.8.8.8/",
        "https://user@8.8.8.8/",
        "ftp://8.8.8.8/",
        "file:///etc/passwd",
        "https://",
        "https:///x",
        "https://8.8.8.8/" + "x" * 2048,
        "https://8.8.8.8/a b",
        "https://8.8.8.8/\r\nHost: x",
        "https://8.8.8.8\\@127.0.0.1/",
        "https://[::1/",
        "https://8.8.8.8:99999/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://127.1/",
        "https://no-such-name.invalid/",
        "",
    ],
)
def test_addresses_that_are_never_called(strict, url):
    with pytest.raises(DomainError) as refused:
        egress.check(strict, url)
    assert refused.value.code == "WEBHOOK_URL_BLOCKED"


def test_a_public_address_passes(strict):
    found = egress.check(strict, "https://8.8.8.8/hook?x=1#frag")
    assert (found.port, found.path, found.addresses) == (443, "/hook?x=1", ("8.8.8.8",))


def test_a_name_with_one_private_address_is_blocked(strict, monkeypatch):
    both = [(2, 1, 6, "", ("8.8.8.8", 443)), (2, 1, 6, "", ("10.0.0.1", 443))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: both)
    with pytest.raises(DomainError):
        egress.check(strict, "https://two-faced.example/")


def test_the_opening_exists_in_tests_only(settings):
    assert egress.check(settings, "http://127.0.0.1:1/").port == 1
    with pytest.raises(DomainError):
        egress.check(dataclasses.replace(settings, app_env="production"), "http://127.0.0.1:1/")


class Listener:
    """A server that answers what a test says, byte for byte."""

    def __init__(self, answer: bytes) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        self.heard: list[bytes] = []
        self.answer = answer
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self.server.accept()
            except OSError:
                return
            self.heard.append(peer.recv(65536))
            if self.answer:
                peer.sendall(self.answer)
                peer.close()


@pytest.fixture
def listen():
    made = []

    def start(answer):
        made.append(Listener(answer))
        return made[-1]

    yield start
    for one in made:
        one.server.close()


def test_the_socket_goes_where_was_checked(settings, listen, monkeypatch):
    """A name that changes after the check (DNS rebinding) leads nowhere: it is resolved once."""
    server = listen(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    asked = []

    def once(host, port, *args, **kw):
        asked.append(host)
        return [(2, 1, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(egress, "resolve", lambda host, port: (once(host, port)[0][4][0],))
    answer = egress.fetch(settings, f"http://moving.example:{server.port}/x")
    assert (answer.status, answer.body, asked) == (200, b"ok", ["moving.example"])
    assert b"Host: moving.example" in server.heard[0]


def test_redirects_are_answers(settings, listen):
    server = listen(b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n")
    answer = egress.fetch(settings, f"http://127.0.0.1:{server.port}/")
    assert answer.status == 302 and len(server.heard) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"rubbish\r\n\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 5000,
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx",
    ],
    ids=["no http", "silence", "too large", "cut off"],
)
def test_bad_servers(settings, listen, answer):
    server = listen(answer)
    with pytest.raises(egress.Unreachable):
        egress.fetch(settings, f"http://127.0.0.1:{server.port}/", timeout=0.5, max_bytes=1000)


@pytest.mark.parametrize(
    "start",
    [
        b"HTTP/1.1 200 OK\r\nX-",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0",
        b"HTTP/1.1 200 OK\r\n\r\n",
    ],
    ids=["headers", "chunk size", "body"],
)
def test_an_answer_that_drips_ends_at_the_deadline(settings, start):
    """Bytes that come one by one never let a timeout of the socket pass."""
    server, over = socket.create_server(("127.0.0.1", 0)), threading.Event()

    def drip() -> None:
        peer, _ = server.accept()
        with contextlib.suppress(OSError), peer:
            peer.recv(65536)
            peer.sendall(start)
            while not over.wait(0.05):
                peer.sendall(b"0")

    threading.Thread(target=drip, daemon=True).start()
    began = time.monotonic()
    try:
        with pytest.raises(egress.Unreachable):
            egress.fetch(settings, f"http://127.0.0.1:{server.getsockname()[1]}/", timeout=0.6)
        assert time.monotonic() - began < 3
    finally:
        over.set()
        server.close()


# ---- key ring -------------------------------------------------------------------------------------------------------


def ring(*names):
    return ",".join(f"{n}:{base64.b64encode(n.encode() * 16).decode()}" for n in names)


def with_ring(settings, text):
    return dataclasses.replace(settings, auth_config_encryption_key=text)


def test_keys_rotate(settings):
    old, new = with_ring(settings, ring("k1")), with_ring(settings, ring("k2", "k1"))
    sealed = keyring.seal(old, "secret", SEALED_ABOUT)
    assert sealed.startswith("v1.k1.") and "secret" not in sealed
    assert keyring.unseal(new, sealed, SEALED_ABOUT) == "secret"
    assert keyring.seal(new, "secret", SEALED_ABOUT).startswith("v1.k2.")
    assert keyring.seal(new, "secret", SEALED_ABOUT) != keyring.seal(new, "secret", SEALED_ABOUT)


@pytest.mark.parametrize("text", ["", "k1", "k1:AAAA", "k1:" + "!" * 44, ":" + "A" * 44])
def test_without_a_usable_key(settings, text):
    found = with_ring(settings, text)
    assert not keyring.available(found)
    with pytest.raises(DomainError) as refused:
        keyring.seal(found, "x", SEALED_ABOUT)
    assert (refused.value.code, refused.value.status) == ("SSO_ENCRYPTION_KEY_MISSING", 500)


def test_what_was_moved_or_tampered_with_does_not_open(settings):
    sealed = keyring.seal(settings, "secret", SEALED_ABOUT)
    for text, about in (
        (sealed, "sso_provider:2:client_secret"),
        (sealed[:-6] + "AAAAA=", SEALED_ABOUT),
        (sealed.replace("v1.k2", "v1.k9"), SEALED_ABOUT),
        ("rubbish", SEALED_ABOUT),
    ):
        with pytest.raises(DomainError):
            keyring.unseal(settings, text, about)
