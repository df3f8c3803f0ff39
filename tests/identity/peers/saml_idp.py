"""A SAML identity provider on pysaml2, with an address on loopback that browsers are sent to."""

from __future__ import annotations

import base64
import datetime as dt
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from saml2 import BINDING_HTTP_REDIRECT
from saml2.config import IdPConfig
from saml2.saml import NAMEID_FORMAT_EMAILADDRESS, NameID
from saml2.server import Server
from saml2.xmldsig import DIGEST_SHA256, SIG_RSA_SHA256
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

from .xmlsec_backend import Backend

FORM = '<form method="post" action="{action}"><input name="SAMLResponse" value="{value}"><input name="RelayState" value="{relay}"><button>Continue</button></form>'


def key_pair(name: str, *, days: int = 365, size: int = 2048, began: int = 1) -> tuple[str, str]:
    """(key, certificate) as PEM; *days* from now until it ends, may be negative."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=size)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=began + max(0, -days) + 1))
        .not_valid_after(now + dt.timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    return pem.decode(), certificate.public_bytes(serialization.Encoding.PEM).decode()


@dataclass
class Person:
    """Who signs in at the provider, and how it answers."""

    email: str = ""
    name_id: str = ""
    name_id_format: str = NAMEID_FORMAT_EMAILADDRESS
    given: str = "Ada"
    family: str = "Lovelace"
    options: dict[str, Any] = field(default_factory=dict)


class SamlIdp:
    """The provider: ``url`` for browsers, ``metadata()`` for the service, ``answer()`` for tests that post by themselves."""

    def __init__(self, folder: Path) -> None:
        self.key, self.certificate = key_pair("idp")
        (folder / "idp.key").write_text(self.key)
        (folder / "idp.crt").write_text(self.certificate)
        # pysaml2 asks the program for its algorithms; everything else is done in this process (xmlsec_backend.py)
        self.program = folder / "xmlsec1"
        self.program.write_text('#!/bin/sh\nprintf \'Registered transforms:\\n"sha256","rsa-sha256"\\n\'\n')
        self.program.chmod(0o755)
        self.folder, self.person, self.requests = folder, Person(), []  # type: ignore[var-annotated]
        self.http = make_server("127.0.0.1", 0, self._app, threaded=True)
        self.url = f"http://localhost:{self.http.server_port}"  # another site than 127.0.0.1, to a browser
        self.entity_id = f"{self.url}/metadata"
        self.server = self._server()
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.http.shutdown()

    def _server(self) -> Server:
        config = IdPConfig()
        config.load(
            {
                "entityid": self.entity_id,
                "xmlsec_binary": str(self.program),
                "key_file": str(self.folder / "idp.key"),
                "cert_file": str(self.folder / "idp.crt"),
                "service": {
                    "idp": {
                        "endpoints": {
                            "single_sign_on_service": [(f"{self.url}/sso", BINDING_HTTP_REDIRECT)],
                            "single_logout_service": [(f"{self.url}/slo", BINDING_HTTP_REDIRECT)],
                        },
                        "policy": {"default": {"lifetime": {"minutes": 5}, "attribute_restrictions": None}},
                        "sign_assertion": True,
                        "name_id_format": [NAMEID_FORMAT_EMAILADDRESS],
                    }
                },
                "metadata": {},
                "allow_unknown_attributes": True,
            }
        )
        server = Server(config=config)
        server.sec.crypto = Backend(str(self.program))
        return server

    def metadata(self) -> str:
        """The provider's metadata, as pysaml2 writes it."""
        from saml2.metadata import entity_descriptor

        return str(entity_descriptor(self.server.config))

    def trust(self, sp_metadata: str) -> None:
        """Import a service's metadata."""
        self.server.metadata.imp([{"class": "saml2.mdstore.InMemoryMetaData", "metadata": [(sp_metadata,)]}])

    # ---- answering ----------------------------------------------------------------------------------------------
    def answer(self, acs: str, audience: str, in_response_to: str | None, **more: Any) -> str:
        """A response in base64, as a form carries it."""
        p = self.person
        options: dict[str, Any] = {
            "sign_assertion": True,
            "sign_response": False,
            "sign_alg": SIG_RSA_SHA256,
            "digest_alg": DIGEST_SHA256,
            **p.options,
            **more,
        }
        response = self.server.create_authn_response(
            {"email": p.email, "givenName": p.given, "sn": p.family},
            in_response_to=in_response_to,
            destination=acs,
            sp_entity_id=audience,
            name_id=NameID(format=p.name_id_format, text=p.name_id or p.email),
            authn={
                "class_ref": "urn:oasis:names:tc:SAML:2.0:ac:classes:Password",
                "authn_auth": self.entity_id,
            },
            session_not_on_or_after=None,
            **options,
        )
        return base64.b64encode(str(response).encode()).decode()

    def _app(self, environ: Any, start: Any) -> Any:
        request = Request(environ)
        if request.path == "/metadata":
            return Response(self.metadata(), mimetype="application/samlmetadata+xml")(environ, start)
        if request.path == "/sso":
            parsed = self.server.parse_authn_request(request.args["SAMLRequest"], BINDING_HTTP_REDIRECT)
            message = parsed.message
            self.requests.append((message, dict(request.args)))
            value = self.answer(
                message.assertion_consumer_service_url, message.issuer.text.strip(), message.id
            )
            page = FORM.format(
                action=message.assertion_consumer_service_url,
                value=value,
                relay=request.args.get("RelayState", ""),
            )
            return Response(page, mimetype="text/html")(environ, start)
        if request.path == "/slo":
            self.requests.append((None, dict(request.args)))
            return Response("ended", mimetype="text/plain")(environ, start)
        return Response(status=404)(environ, start)

    # ---- single logout, begun by the provider ---------------------------------------------------------------------
    def logout_query(
        self, sls: str, name_id: str, indexes: list[str] | None = None, *, sign: bool = True
    ) -> str:
        """The query string of a logout request by the redirect binding."""
        _, request = self.server.create_logout_request(
            sls,
            issuer_entity_id=self.entity_id,
            name_id=NameID(format=self.person.name_id_format, text=name_id),
            session_indexes=indexes,
            sign=False,
        )
        found = self.server.apply_binding(
            BINDING_HTTP_REDIRECT,
            str(request),
            sls,
            relay_state="there",
            response=False,
            sign=sign,
            sigalg=SIG_RSA_SHA256,
        )
        return str(dict(found["headers"])["Location"]).partition("?")[2]

    def logout_form(self, sls: str, name_id: str) -> dict[str, str]:
        """The form of a logout request by the POST binding, signed as XML."""
        _, request = self.server.create_logout_request(
            sls,
            issuer_entity_id=self.entity_id,
            name_id=NameID(format=self.person.name_id_format, text=name_id),
            sign=True,
            sign_alg=SIG_RSA_SHA256,
            digest_alg=DIGEST_SHA256,
        )
        return {"SAMLRequest": base64.b64encode(str(request).encode()).decode()}
