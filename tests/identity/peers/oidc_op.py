"""An OpenID provider on idpyoidc, with its addresses on loopback; it can be told to misbehave in one point.

Everything is the library's: discovery, PKCE, codes, client authentication, tokens, userinfo. A *tamper* function may
change an ID token before it leaves, signed anew with the provider's key or another.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptojwt.jwk.rsa import new_rsa_key
from cryptojwt.jws.jws import JWS, factory
from idpyoidc.server import Server
from idpyoidc.server.configure import OPConfiguration
from idpyoidc.server.exception import ClientAuthenticationError, UnAuthorizedClient
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

KEYS = [{"type": "RSA", "use": ["sig"]}, {"type": "EC", "crv": "P-256", "use": ["sig"]}]
OCT = [{"type": "OCT", "use": ["enc"], "kid": "enc"}, {"type": "OCT", "use": ["sig"], "kid": "sig"}]


class OidcOp:
    """The provider: ``issuer``, one client, and ``person``, the claims of whoever signs in."""

    def __init__(self, folder: Path) -> None:
        self.http = make_server("127.0.0.1", 0, self._app, threaded=True)
        self.issuer = f"http://127.0.0.1:{self.http.server_port}"
        self.client_id, self.client_secret = "consilium client", "s3cret+/&=: %" + secrets.token_hex(8)
        self.folder = folder
        self.server = self._server()
        self.fresh()
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.http.shutdown()

    def fresh(self) -> None:
        """Nobody at the keyboard, nothing out of order."""
        self.person: dict[str, Any] = {"sub": "nobody"}
        self.tamper: Callable[[dict[str, Any], dict[str, Any]], Any] | None = None
        self.userinfo: Callable[[dict[str, Any]], dict[str, Any]] = lambda found: found
        self.config: Callable[[dict[str, Any]], dict[str, Any]] = lambda found: found
        self.answer: Callable[[str], str] = lambda address: address
        self.in_token = True
        self.calls: list[str] = []

    def somebody(self, email: str, **claims: Any) -> None:
        """Who signs in next."""
        self.person = {
            "sub": f"user-{email}",
            "email": email,
            "email_verified": True,
            "given_name": "Bela",
            "family_name": "Bartok",
            "name": "Bela Bartok",
            **claims,
        }
        self.server.context.userinfo.db = {"somebody": {k: v for k, v in self.person.items() if k != "sub"}}

    def _server(self) -> Server:
        base = {
            "issuer": self.issuer,
            "base_url": self.issuer,
            "httpc_params": {"verify": False},
            "key_conf": {"key_defs": KEYS, "uri_path": "jwks.json"},
            "cookie_handler": {
                "class": "idpyoidc.server.cookie_handler.CookieHandler",
                "kwargs": {"keys": {"key_defs": OCT}},
            },
            "preference": {"subject_types_supported": ["public"]},
            "token_handler_args": {
                "key_conf": {"key_defs": OCT},
                "code": {
                    "lifetime": 600,
                    "kwargs": {"crypt_conf": {"kwargs": {"password": "a" * 20, "salt": "b" * 16}}},
                },
                "token": {"class": "idpyoidc.server.token.jwt_token.JWTToken", "kwargs": {"lifetime": 3600}},
                "id_token": {
                    "class": "idpyoidc.server.token.id_token.IDToken",
                    "kwargs": {"add_claims_by_scope": True, "enable_claims_per_client": False},
                },
            },
            "authentication": {
                "anon": {
                    "acr": "urn:oasis:names:tc:SAML:2.0:ac:classes:InternetProtocolPassword",
                    "class": "idpyoidc.server.user_authn.user.NoAuthn",
                    "kwargs": {"user": "somebody"},
                }
            },
            "userinfo": {"class": "idpyoidc.server.user_info.UserInfo", "kwargs": {"db": {}}},
            "add_on": {
                "pkce": {
                    "function": "idpyoidc.server.oauth2.add_on.pkce.add_support",
                    "kwargs": {"essential": True, "code_challenge_method": "S256"},
                }
            },
        }
        server = Server(OPConfiguration(base, base_path=str(self.folder)), cwd=str(self.folder))
        return server

    def register(self, urls: dict[str, str]) -> None:
        """Take a service's redirect address into the client."""
        known = self.server.context.cdb.get(self.client_id, {})
        uris = [*known.get("redirect_uris", []), (urls["callback"], {})]
        self.server.context.cdb[self.client_id] = {
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "client_salt": "salted",
            "redirect_uris": uris,
            "response_types_supported": ["code"],
            "token_endpoint_auth_method": "client_secret_basic",
            "allowed_scopes": ["openid", "email", "profile"],
            "scopes_to_claims": self.server.context.scopes_handler.get_scopes_mapping(),
            "add_claims": {"by_scope": {"id_token": True, "userinfo": True}},
        }
        self.server.context.keyjar.add_symmetric(self.client_id, self.client_secret)

    # ---- keys -----------------------------------------------------------------------------------------------------
    def keys(self) -> list[Any]:
        return [k for k in self.server.context.keyjar.get_issuer_keys("") if k.kty == "RSA"]

    def roll(self) -> None:
        """A new signing key; the former is gone."""
        jar = self.server.context.keyjar
        key = new_rsa_key(kid=secrets.token_hex(4), use="sig")
        for issuer in ("", self.issuer):
            for bundle in list(jar[issuer]) if issuer in jar.owners() else []:
                if any(k.kty == "RSA" for k in bundle.active_keys()):
                    bundle.set([key, *[k for k in bundle.active_keys() if k.kty != "RSA"]])

    def signed(self, claims: dict[str, Any], header: dict[str, Any] | None = None, key: Any = None) -> str:
        """A token over *claims* by the provider's key, or *key*."""
        more = {"alg": "RS256", **(header or {})}
        return str(JWS(json.dumps(claims), **more).sign_compact([key or self.keys()[0]]))

    def logout_token(self, **change: Any) -> str:
        """A back-channel logout token; None takes a claim out."""
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": self.client_id,
            "iat": now,
            "exp": now + 120,
            "jti": secrets.token_hex(8),
            "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
            **change,
        }
        return self.signed({k: v for k, v in claims.items() if v is not None}, {"typ": "logout+jwt"})

    # ---- HTTP -----------------------------------------------------------------------------------------------------
    def _app(self, environ: Any, start: Any) -> Any:
        request = Request(environ)
        self.calls.append(request.path)
        try:
            response = self._answer(request)
        except Exception as error:  # a test shows it
            response = Response(f"{type(error).__name__}: {error}", status=500)
        return response(environ, start)

    def _answer(self, request: Request) -> Response:
        if request.path == "/jwks.json":
            jar = self.server.context.keyjar
            return Response(jar.export_jwks_as_json(), mimetype="application/json")
        if request.path == "/.well-known/openid-configuration":
            endpoint = self.server.get_endpoint("provider_config")
            args = endpoint.process_request()
            found = json.loads(endpoint.do_response(request={}, **args)["response"])
            found["jwks_uri"] = f"{self.issuer}/jwks.json"
            found["end_session_endpoint"] = f"{self.issuer}/end"
            return Response(json.dumps(self.config(found)), mimetype="application/json")
        name = {"/authorization": "authorization", "/token": "token", "/userinfo": "userinfo"}.get(
            request.path
        )
        if name is None:
            return Response(status=404)
        endpoint = self.server.get_endpoint(name)
        info = {
            "headers": {k.lower(): v for k, v in request.headers.items()},
            "method": request.method,
            "url": request.url,
        }
        given: Any = request.args.to_dict() if request.method == "GET" else request.form.to_dict()
        if name == "userinfo":
            given = {}
        try:
            asked = endpoint.parse_request(given, http_info=info)
        except (UnAuthorizedClient, ClientAuthenticationError):
            return Response('{"error": "invalid_client"}', status=401, mimetype="application/json")
        if "error" in asked:
            return Response(
                asked.to_json(),
                status=401 if asked["error"] == "invalid_client" else 400,
                mimetype="application/json",
            )
        args = endpoint.process_request(asked, http_info=info)
        if "http_response" in args:
            return Response(args["http_response"])
        done = endpoint.do_response(request=asked, **args)
        if name == "authorization":
            return Response(status=302, headers={"Location": self.answer(done["response"])})
        body = done["response"]
        if name == "token":
            body = self._token(json.loads(body))
        elif name == "userinfo":
            body = json.dumps(self.userinfo({**json.loads(body), "sub": self.person["sub"]}))
        return Response(body, status=int(done.get("response_code", 200)), mimetype="application/json")

    def _token(self, answer: dict[str, Any]) -> str:
        """The token endpoint's answer: the subject a test chose, and whatever it tampers with."""
        if "id_token" in answer:
            found = factory(answer["id_token"])
            claims = found.jwt.payload()
            header = {"kid": self.keys()[0].kid}
            claims["sub"] = self.person["sub"]
            if self.in_token:
                claims |= {k: v for k, v in self.person.items() if k != "sub"}
            else:
                claims = {k: v for k, v in claims.items() if k not in self.person or k == "sub"}
            claims.pop("at_hash", None)
            key = None
            if self.tamper is not None:
                changed = self.tamper(claims, header)
                if isinstance(changed, str):
                    answer["id_token"] = changed
                    return json.dumps(answer)
                claims, header, key = changed
            answer["id_token"] = self.signed(claims, header, key)
        return json.dumps(answer)
