"""The one way out to addresses that customers name: webhooks, OIDC providers, SAML metadata (chapter 3, "Egress guard").

https on port 443, no credentials, at most 2,048 characters; every address the name resolves to must be public; the socket
goes to an address that was checked, so a name that changes in between leads nowhere. Redirects are never followed, answers
are bounded in size and time. Under APP_ENV=test the networks of EGRESS_TEST_ALLOWLIST are reachable too, by plain http and
on any port.
"""

from __future__ import annotations

import http.client
import io
import ipaddress
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from app.errors import DomainError
from config import Settings

MAX_URL, MAX_ADDRESSES = 2048, 16
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64 = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))
# global by Python's tables, and yet no place of the public internet that anybody should be sent to
_SPECIAL = tuple(
    ipaddress.ip_network(n)
    for n in (
        "192.88.99.0/24",  # 6to4 relays
        "192.0.0.0/24",
        "2002::/16",  # 6to4
        "2001::/23",  # Teredo, ORCHID and their kin
        "100::/64",
        "::/96",  # IPv4-compatible
        "fec0::/10",  # site-local
        "3fff::/20",
        "5f00::/16",
    )
)


@dataclass(frozen=True)
class Target:
    """An address that may be called: where to connect and what to ask for."""

    scheme: str
    host: str
    port: int
    path: str
    addresses: tuple[str, ...]

    @property
    def authority(self) -> str:
        name = f"[{self.host}]" if ":" in self.host else self.host
        usual = 443 if self.scheme == "https" else 80
        return name if self.port == usual else f"{name}:{self.port}"


@dataclass(frozen=True)
class Answer:
    """What came back: status, headers by lower-case name, and the body up to the limit."""

    status: int
    headers: dict[str, str]
    body: bytes


class Unreachable(Exception):
    """The address may be called, but did not answer as http within the time and size allowed."""


def is_public(address: str) -> bool:
    """Whether *address* is one of the public internet: no private, loopback, CGNAT, link-local, multicast, mapped,
    NAT64, 6to4, Teredo or otherwise reserved one."""
    try:
        ip: Address = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and (ip.ipv4_mapped or any(ip in n for n in _NAT64)):
        return False
    if any(ip in network for network in _SPECIAL if network.version == ip.version):
        return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified or ip.is_loopback)


def _allowed(settings: Settings, address: str) -> bool:
    """Whether tests opened this address."""
    if not settings.testing or not settings.egress_test_allowlist:
        return False
    ip = ipaddress.ip_address(address.partition("%")[0])
    networks = (
        ipaddress.ip_network(n.strip()) for n in settings.egress_test_allowlist.split(",") if n.strip()
    )
    return any(ip in network for network in networks if network.version == ip.version)


def check(settings: Settings, url: str) -> Target:
    """Where *url* leads, resolved now. Raises WEBHOOK_URL_BLOCKED with a reason in its details."""
    if not isinstance(url, str) or not 1 <= len(url) <= MAX_URL:
        raise _blocked("At most 2,048 characters.")
    if any(c.isspace() or ord(c) < 32 or ord(c) == 127 for c in url) or "\\" in url or not url.isascii():
        raise _blocked("It holds characters that an address cannot hold.")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise _blocked("It is no address.") from None
    if parts.scheme not in ("https", "http") or not host:
        raise _blocked("Only https addresses are called.")
    if "@" in parts.netloc or parts.username or parts.password:
        raise _blocked("It holds a user name or password.")
    host = host.rstrip(".")
    port = port if port is not None else (443 if parts.scheme == "https" else 80)
    addresses = resolve(host, port)
    opened = all(_allowed(settings, a) for a in addresses)
    if not opened:
        if parts.scheme != "https":
            raise _blocked("Only https addresses are called.")
        if port != 443:
            raise _blocked("Only port 443 is called.")
        if not all(is_public(a) or _allowed(settings, a) for a in addresses):
            raise _blocked("It leads into a private network.")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port, path, addresses)


def resolve(host: str, port: int) -> tuple[str, ...]:
    """Every address of *host*. Raises WEBHOOK_URL_BLOCKED if there is none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise _blocked("Its name does not resolve.") from None
    addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))[:MAX_ADDRESSES]
    if not addresses:
        raise _blocked("Its name does not resolve.")
    return addresses


def _blocked(reason: str) -> DomainError:
    return DomainError("WEBHOOK_URL_BLOCKED", reason=reason)


class _Timed(io.RawIOBase):
    """Reads a socket until a deadline, however slowly its bytes drip; http.client's own timeout begins anew with each."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock, self._deadline = sock, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timeout")
        self._sock.settimeout(left)
        return self._sock.recv_into(buffer)


class _Answering(http.client.HTTPResponse):
    """An answer that is read until *deadline*."""

    def __init__(self, sock: socket.socket, deadline: float, method: str) -> None:
        super().__init__(sock, method=method)
        self.fp = io.BufferedReader(_Timed(sock, deadline))


class _Pinned(http.client.HTTPConnection):
    """A connection to one checked address, whatever the name says by now."""

    def __init__(self, target: Target, address: str, timeout: float) -> None:
        super().__init__(target.host, target.port, timeout=timeout)
        self._target, self._address = target, address

    def connect(self) -> None:
        raw = socket.create_connection((self._address, self._target.port), self.timeout)
        if self._target.scheme == "https":
            raw = ssl.create_default_context().wrap_socket(raw, server_hostname=self._target.host)
        self.sock = raw


def fetch(
    settings: Settings,
    url: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    timeout: float = 10.0,
    max_bytes: int = 512 * 1024,
) -> Answer:
    """Call *url* once and return the answer, whatever its status; redirects are answers like any other.

    *timeout* seconds hold for everything together. Raises WEBHOOK_URL_BLOCKED, Unreachable.
    """
    target = check(settings, url)
    deadline = time.monotonic() + timeout
    last: Exception | None = None
    for address in target.addresses[:3]:
        left = deadline - time.monotonic()
        if left <= 0:
            break
        connection = _Pinned(target, address, left)
        try:
            connection.connect()
        except (OSError, ssl.SSLError) as error:
            last = error
            connection.close()
            continue
        try:
            return _talk(connection, target, method, dict(headers or {}), body, deadline, max_bytes)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unreachable(type(error).__name__) from error
        finally:
            connection.close()
    raise Unreachable(type(last).__name__ if last else "timeout")


def _talk(
    connection: Any,
    target: Target,
    method: str,
    headers: dict[str, str],
    body: bytes | None,
    deadline: float,
    max_bytes: int,
) -> Answer:
    sent = {"User-Agent": "Consilium/1.0", "Accept-Encoding": "identity", "Connection": "close", **headers}
    connection.putrequest(method, target.path, skip_host=True, skip_accept_encoding=True)
    connection.putheader("Host", target.authority)
    for name, value in sent.items():
        connection.putheader(name, value)
    if body is not None:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    response = _Answering(connection.sock, deadline, method)
    response.begin()
    chunks, size = [], 0
    while True:
        chunk = response.read1(65536)
        if not chunk:
            break
        size += len(chunk)
        if size > max_bytes:
            raise Unreachable("too large")
        chunks.append(chunk)
    if response.length:  # the connection ended before the answer did
        raise Unreachable("cut off")
    return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, b"".join(chunks))
