"""A small authoritative DNS server on loopback, UDP and TCP, that can also misbehave."""

from __future__ import annotations

import socketserver
import struct
import threading
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset


class Zone:
    """What the server says: TXT records and aliases by name, and names that fail in a certain way."""

    def __init__(self) -> None:
        self.txt: dict[str, list[str]] = {}  # name -> records as presentation text, such as '"a" "b"'
        self.aliases: dict[str, str] = {}
        self.broken: dict[str, str] = {}  # name -> servfail, silence, truncate
        self.asked: list[tuple[str, str]] = []  # (transport, name)

    def publish(self, name: str, *values: str, split: int = 0) -> None:
        """TXT records at *name*; *split* cuts each into chunks of that many characters."""
        self.txt[name] = [
            " ".join(f'"{v[i : i + (split or len(v))]}"' for i in range(0, len(v), split or len(v)))
            for v in values
        ]

    def answer(self, wire: bytes, transport: str) -> bytes | None:
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        self.asked.append((transport, name))
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.AA
        kind = self.broken.get(name)
        if kind == "silence":
            return None
        if kind == "servfail":
            reply.set_rcode(dns.rcode.SERVFAIL)
            return reply.to_wire()
        if kind == "truncate" and transport == "udp":
            reply.flags |= dns.flags.TC
            return reply.to_wire()
        if name in self.aliases:
            reply.answer.append(
                dns.rrset.from_text(question.name, 60, "IN", "CNAME", self.aliases[name] + ".")
            )
        elif name not in self.txt:
            reply.set_rcode(dns.rcode.NXDOMAIN)
        if name in self.txt and question.rdtype == dns.rdatatype.TXT and self.txt[name]:
            reply.answer.append(dns.rrset.from_text(question.name, 60, "IN", "TXT", *self.txt[name]))
        return reply.to_wire(max_size=65535)


class DnsServer:
    """The server, on 127.0.0.1 and one free ``port`` for both transports."""

    def __init__(self) -> None:
        self.zone = Zone()
        zone = self.zone

        class Udp(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                data, sock = self.request
                reply = zone.answer(data, "udp")
                if reply is not None:
                    sock.sendto(reply, self.client_address)

        class Tcp(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                head = self._exactly(2)
                reply = zone.answer(self._exactly(struct.unpack("!H", head)[0]), "tcp")
                if reply is not None:
                    self.request.sendall(struct.pack("!H", len(reply)) + reply)

            def _exactly(self, count: int) -> bytes:
                data = b""
                while len(data) < count:
                    piece = self.request.recv(count - len(data))
                    if not piece:
                        raise ConnectionError
                    data += piece
                return data

        class TcpServer(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

        class UdpServer(socketserver.ThreadingUDPServer):
            daemon_threads = True

        for _ in range(100):  # until a port is free for both
            tcp = TcpServer(("127.0.0.1", 0), Tcp)
            self.port: int = tcp.server_address[1]
            try:
                udp = UdpServer(("127.0.0.1", self.port), Udp)
                break
            except OSError:
                tcp.server_close()
        else:
            raise OSError("No port is free for both TCP and UDP")
        self._servers: list[Any] = [udp, tcp]
        for server in self._servers:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()
