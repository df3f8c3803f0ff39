"""OpenID Connect as a relying party: discovery, the authorisation code flow with PKCE, ID tokens, logout tokens.

Authlib builds the request and checks the registered claims; joserfc checks signatures. What they leave to the caller stands
here: the exact issuer (also of the answer, RFC 9207), asymmetric algorithms only, keys that roll over, ``azp``, times,
e-mail that is verified, the same ``sub`` from userinfo, and every call through the egress guard.
"""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import hmac
import json
import threading
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jwk, jws
from joserfc.errors import JoseError

from app.errors import DomainError
from app.security import egress
from config import Settings

ALGORITHMS = [
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
    "Ed25519",
]
SKEW = 120  # seconds
MAX_TOKEN, MAX_JSON = 64 * 1024, 256 * 1024
KEYS_FRESH, KEYS_AGAIN = (
    600.0,
    15.0,
)  # seconds: how long keys are believed; how soon an unknown one may ask again
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
GOOGLE = frozenset({"https://accounts.google.com", "accounts.google.com"})
AUTH_METHODS = ("client_secret_basic", "client_secret_post")
KEPT = (
    "issuer",
    "authorization_endpoint",
    "token_endpoint",
    "jwks_uri",
    "userinfo_endpoint",
    "end_session_endpoint",
    "authorization_response_iss_parameter_supported",
    "code_challenge_methods_supported",
    "token_endpoint_auth_methods_supported",
    "id_token_signing_alg_values_supported",
    "backchannel_logout_supported",
)


class Refused(ValueError):
    """The provider's answer cannot be used; the message says why, to an administrator, without quoting it."""


@dataclass(frozen=True)
class Claims:
    """Who the provider says signed in."""

    subject: str
    email: str | None
    email_verified: bool
    hosted_domain: str | None
    name: str
    session_id: str | None
    authenticated_at: dt.datetime | None
    raw: dict[str, Any] = field(default_factory=dict, repr=False)


# ---- discovery ------------------------------------------------------------------------------------------------------


def discovery_address(issuer: str) -> str:
    """Where an issuer publishes its configuration (OpenID Connect Discovery 4)."""
    return issuer.rstrip("/") + "/.well-known/openid-configuration"


def discover(settings: Settings, issuer: str, discovery_url: str | None = None) -> dict[str, Any]:
    """The part of the discovery document that is kept. Raises OIDC_DISCOVERY_FAILED with the reason."""
    try:
        document = _json(
            egress.fetch(
                settings,
                discovery_url or discovery_address(issuer),
                headers={"Accept": "application/json"},
                max_bytes=MAX_JSON,
            )
        )
    except DomainError as error:
        raise _failed(f"Its address cannot be called. {error.details.get('reason', '')}".strip()) from None
    except egress.Unreachable:
        raise _failed("Its address did not answer within ten seconds.") from None
    except Refused as error:
        raise _failed(str(error)) from None
    if document.get("issuer") != issuer:
        raise _failed("It names another issuer. Copy the issuer exactly, with or without a final slash.")
    for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
        if not _is_address(settings, document.get(name)):
            raise _failed(f"It has no usable {name}.")
    for name in ("userinfo_endpoint", "end_session_endpoint"):
        if document.get(name) is not None and not _is_address(settings, document.get(name)):
            raise _failed(f"Its {name} is not an https address.")
    methods = document.get("code_challenge_methods_supported")
    if isinstance(methods, list) and "S256" not in methods:
        raise _failed("It does not support PKCE with S256.")
    return {name: document[name] for name in KEPT if name in document}


def _is_address(settings: Settings, value: Any) -> bool:
    if not isinstance(value, str) or not 8 <= len(value) <= 2048:
        return False
    parts = urlsplit(value)
    scheme = parts.scheme == "https" or (settings.testing and parts.scheme == "http")
    return scheme and bool(parts.hostname) and "@" not in parts.netloc and not parts.fragment


def _failed(reason: str) -> DomainError:
    return DomainError(
        "OIDC_DISCOVERY_FAILED", message=f"The provider cannot be used: {reason}", reason=reason
    )


def _json(answer: egress.Answer) -> dict[str, Any]:
    if answer.status != 200:
        raise Refused(f"It answered with status {answer.status}.")
    try:
        document = json.loads(answer.body)
    except (ValueError, RecursionError):
        raise Refused("It did not answer with JSON.") from None
    if not isinstance(document, dict):
        raise Refused("It did not answer with a JSON object.")
    return document


# ---- asking ---------------------------------------------------------------------------------------------------------


def request_url(
    provider: Any,
    redirect_uri: str,
    *,
    state: str,
    nonce: str,
    verifier: str,
    login_hint: str | None = None,
    force: bool = False,
) -> str:
    """Where to send the browser. *force*: the provider must ask the person again."""
    more: dict[str, Any] = {
        "nonce": nonce,
        "code_challenge": create_s256_code_challenge(verifier),
        "code_challenge_method": "S256",
    }
    if login_hint:
        more["login_hint"] = login_hint
    if force:
        more |= {"prompt": "login", "max_age": 0}
    return str(
        prepare_grant_uri(
            provider.discovery["authorization_endpoint"],
            provider.client_id,
            "code",
            redirect_uri,
            provider.scopes,
            state,
            **more,
        )
    )


def check_issuer(provider: Any, given: list[str]) -> None:
    """The ``iss`` of an answer (RFC 9207): exact when there, there when promised. Raises Refused."""
    if len(given) > 1 or (given and given[0] != provider.issuer):
        raise Refused("The answer names another issuer (iss).")
    if not given and (provider.discovery or {}).get("authorization_response_iss_parameter_supported") is True:
        raise Refused("The answer names no issuer (iss), though the provider promises one.")


# ---- redeeming ------------------------------------------------------------------------------------------------------


def redeem(
    settings: Settings, provider: Any, secrets: list[str], *, code: str, redirect_uri: str, verifier: str
) -> dict[str, Any]:
    """The token endpoint's answer. *secrets*, newest first, are tried until one is known there. Raises Refused."""
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri,
        "code_verifier": verifier,
    }
    problem = "The token endpoint refused us."
    for authorization, fields in _ways_in(provider, secrets):
        headers = {
            "Accept": "application/json",
            "Content-Type": "application/x-www-form-urlencoded",
            **authorization,
        }
        body = {**form, **fields}
        try:
            answer = egress.fetch(
                settings,
                provider.discovery["token_endpoint"],
                method="POST",
                headers=headers,
                body=urlencode(body).encode(),
                max_bytes=MAX_JSON,
            )
        except (DomainError, egress.Unreachable):
            raise Refused("The token endpoint cannot be reached.") from None
        if answer.status == 200:
            return _json(answer)
        code_of = ""
        with contextlib.suppress(ValueError, AttributeError, RecursionError):
            code_of = str(json.loads(answer.body).get("error", ""))[:60]
        problem = f"The token endpoint refused us with status {answer.status}" + (
            f": {code_of}." if code_of else "."
        )
        if answer.status != 401 and code_of != "invalid_client":
            break
    raise Refused(problem)


def _ways_in(provider: Any, secrets: list[str]) -> list[tuple[dict[str, str], dict[str, str]]]:
    """(headers, form fields) that say who we are, to be tried in order.

    RFC 6749, 2.3.1 form-encodes both parts of Basic first; providers that do not know it get them as they are.
    """
    if provider.token_auth_method == "client_secret_post":  # noqa: S105
        return [({}, {"client_id": provider.client_id, "client_secret": s}) for s in secrets]
    pairs: list[str] = []
    for secret in secrets:
        for pair in (
            f"{quote_plus(provider.client_id)}:{quote_plus(secret)}",
            f"{provider.client_id}:{secret}",
        ):
            if pair not in pairs:
                pairs.append(pair)
    return [({"Authorization": "Basic " + base64.b64encode(p.encode()).decode()}, {}) for p in pairs]


_cache: dict[str, tuple[float, dict[str, Any]]] = {}
_asked_again: dict[str, float] = {}  # when an unknown key last made us ask
_lock = threading.Lock()


def keys(settings: Settings, uri: str, *, again: bool = False) -> list[dict[str, Any]]:
    """The provider's public keys, believed for ten minutes. *again*: a token names none of them, so ask once more, though
    forged tokens make us ask at most every quarter of a minute. Raises Refused."""
    now = time.monotonic()
    with _lock:
        known = _cache.get(uri)
        asked = _asked_again.get(uri)
        if again:
            if known is not None and asked is not None and now - asked < KEYS_AGAIN:
                return list(known[1]["keys"])
            _asked_again[uri] = now
    if not again and known is not None and now - known[0] < KEYS_FRESH:
        return list(known[1]["keys"])
    try:
        document = _json(
            egress.fetch(settings, uri, headers={"Accept": "application/json"}, max_bytes=MAX_JSON)
        )
    except (DomainError, egress.Unreachable):
        raise Refused("The provider's keys cannot be reached.") from None
    found = document.get("keys")
    if not isinstance(found, list) or not all(isinstance(k, dict) for k in found) or len(found) > 100:
        raise Refused("The provider's keys cannot be read.")
    with _lock:
        if len(_cache) > 500:
            _cache.clear()
            _asked_again.clear()
        _cache[uri] = (now, {"keys": found})
    return found


def forget_keys() -> None:
    """Start over with every provider's keys."""
    with _lock:
        _cache.clear()
        _asked_again.clear()


def _verified(settings: Settings, provider: Any, token: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """(header, claims) of a signed token. Raises Refused."""
    if not isinstance(token, str) or not token.isascii() or len(token) > MAX_TOKEN or token.count(".") != 2:
        raise Refused("The token is no signed JSON Web Token.")
    try:
        header = json.loads(_unpack(token.partition(".")[0]))
    except (ValueError, RecursionError):
        raise Refused("The token's header cannot be read.") from None
    if not isinstance(header, dict) or header.get("alg") not in ALGORITHMS or "crit" in header:
        raise Refused("The token is signed by an algorithm that is not accepted.")
    uri = provider.discovery["jwks_uri"]
    for again in (False, True):  # a key may have rolled over
        for key in keys(settings, uri, again=again):
            if key.get("use") not in (None, "sig") or key.get("kty") not in ("RSA", "EC", "OKP"):
                continue
            if header.get("kid") is not None and key.get("kid") is not None and key["kid"] != header["kid"]:
                continue
            if key.get("alg") not in (None, header["alg"]):
                continue
            try:
                found = jws.deserialize_compact(token, jwk.import_key(key), algorithms=[header["alg"]])
                claims = json.loads(found.payload)
            except (JoseError, ValueError, TypeError, KeyError, RecursionError):
                continue
            if isinstance(claims, dict):
                if not _storable(claims):
                    raise Refused("The token holds characters that no text can hold.")
                return header, claims
    raise Refused("The token's signature does not match any key of the provider.")


def _storable(claims: dict[str, Any]) -> bool:
    """Whether every text of *claims* can be kept: no NUL, no half of a character."""
    text = json.dumps(claims, ensure_ascii=False)
    return "\\u0000" not in text and not any("\ud800" <= c <= "\udfff" for c in text)


def _unpack(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _check_party(provider: Any, claims: dict[str, Any]) -> None:
    if claims.get("iss") != provider.issuer:
        raise Refused("Another issuer signed the token.")
    audience = claims.get("aud")
    parties = [audience] if isinstance(audience, str) else audience
    if not isinstance(parties, list) or provider.client_id not in parties:
        raise Refused("The token is meant for another application (aud).")
    azp = claims.get("azp")
    if (len(parties) > 1 and azp is None) or (azp is not None and azp != provider.client_id):
        raise Refused("The token was issued to another application (azp).")


def _number(claims: dict[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e11:
        raise Refused(f"The token's {name} is no time.")
    return float(value)


def _check_times(claims: dict[str, Any], now: float, *, needs_exp: bool = True) -> None:
    exp, iat, nbf = (_number(claims, n) for n in ("exp", "iat", "nbf"))
    if iat is None or (needs_exp and exp is None):
        raise Refused("The token does not say how long it is valid.")
    if exp is not None and exp + SKEW <= now:
        raise Refused("The token is not valid any more. Do the clocks agree?")
    if iat - SKEW > now or (nbf is not None and nbf - SKEW > now):
        raise Refused("The token is not valid yet. Do the clocks agree?")


def _subject(claims: dict[str, Any]) -> str:
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 1 <= len(subject) <= 255:
        raise Refused("The token names nobody (sub).")
    return subject


def read_id_token(
    settings: Settings,
    provider: Any,
    answer: dict[str, Any],
    *,
    nonce: str,
    now: dt.datetime,
    max_age: int | None = None,
) -> dict[str, Any]:
    """The claims of the ID token in a token endpoint's *answer*. Raises Refused."""
    header, claims = _verified(settings, provider, answer.get("id_token"))
    _check_party(provider, claims)
    moment = now.timestamp()
    _check_times(claims, moment)
    _subject(claims)
    given = claims.get("nonce")
    if not isinstance(given, str) or not hmac.compare_digest(given.encode(), nonce.encode()):
        raise Refused("The token answers another request (nonce).")
    authenticated = _number(claims, "auth_time")
    if max_age is not None and (authenticated is None or authenticated + max_age + SKEW < moment):
        raise Refused("The provider did not ask the person again (auth_time).")
    checked = CodeIDToken(
        claims,
        header,
        options={"iss": {"value": provider.issuer}, "aud": {"value": provider.client_id}},
        params={"nonce": nonce, "client_id": provider.client_id, "access_token": answer.get("access_token")},
    )
    try:
        checked.validate(now=int(moment), leeway=SKEW)
    except (JoseError, TypeError, ValueError) as error:
        raise Refused(f"The token's claims do not fit ({type(error).__name__}).") from None
    return claims


def with_userinfo(
    settings: Settings, provider: Any, answer: dict[str, Any], claims: dict[str, Any]
) -> dict[str, Any]:
    """*claims* completed by the userinfo endpoint where the ID token names no e-mail. Raises Refused."""
    endpoint, token = (provider.discovery or {}).get("userinfo_endpoint"), answer.get("access_token")
    if claims.get("email") is not None and "email_verified" in claims:
        return claims
    if not endpoint or not isinstance(token, str) or not token.isascii() or len(token) > MAX_TOKEN:
        return claims
    try:
        found = _json(
            egress.fetch(
                settings,
                endpoint,
                headers={"Accept": "application/json", "Authorization": f"Bearer {token}"},
                max_bytes=MAX_JSON,
            )
        )
    except (DomainError, egress.Unreachable):
        raise Refused("The userinfo endpoint cannot be reached.") from None
    if not _storable(found):
        raise Refused("The userinfo endpoint's answer holds characters that no text can hold.")
    if found.get("sub") != claims["sub"]:
        raise Refused("The userinfo endpoint speaks of somebody else (sub).")
    if claims.get("email") not in (None, found.get("email")):  # what it verified is another address
        found = {k: v for k, v in found.items() if k not in ("email_verified", "xms_edov")}
    return {**found, **claims}


def person(claims: dict[str, Any]) -> Claims:
    """Who *claims* describe. Raises Refused for values of a wrong type."""
    email = claims.get("email")
    if email is not None and not isinstance(email, str):
        raise Refused("The e-mail address is no text.")
    hosted = claims.get("hd")
    if hosted is not None and not isinstance(hosted, str):
        raise Refused("The hosted domain is no text.")
    parts = [str(claims.get(n) or "")[:64] for n in ("given_name", "family_name")]
    full = claims.get("name")
    name = full if isinstance(full, str) and full.strip() else " ".join(p for p in parts if p)
    sid, at = claims.get("sid"), _number(claims, "auth_time")
    return Claims(
        _subject(claims),
        email,
        _true(claims.get("email_verified")) or _true(claims.get("xms_edov")),
        hosted,
        name[:128],
        sid[:400] if isinstance(sid, str) else None,
        dt.datetime.fromtimestamp(at, dt.UTC) if at is not None else None,
        claims,
    )


def _true(value: Any) -> bool:
    """Booleans as providers write them: true, "true", and Entra's 1."""
    return value is True or (isinstance(value, int | str) and str(value).lower() in ("true", "1"))


# ---- logout ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LogoutToken:
    """Who is to be signed out: a session (*session_id*), or every session of *subject*."""

    token_id: str
    subject: str | None
    session_id: str | None
    expires_at: dt.datetime


def read_logout_token(settings: Settings, provider: Any, token: str, now: dt.datetime) -> LogoutToken:
    """A back-channel logout token (OpenID Connect Back-Channel Logout 2.6). Raises Refused."""
    header, claims = _verified(settings, provider, token)
    if header.get("typ") not in (None, "JWT", "logout+jwt", "application/logout+jwt"):
        raise Refused("It is no logout token.")
    _check_party(provider, claims)
    _check_times(claims, now.timestamp(), needs_exp=False)
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(LOGOUT_EVENT), dict) or "nonce" in claims:
        raise Refused("It is no logout token.")
    iat = _number(claims, "iat") or 0
    if iat + 600 < now.timestamp():
        raise Refused("It is too old.")
    token_id, subject, sid = claims.get("jti"), claims.get("sub"), claims.get("sid")
    if not isinstance(token_id, str) or not 1 <= len(token_id) <= 400:
        raise Refused("It has no identifier (jti).")
    subject = subject if isinstance(subject, str) and subject else None
    sid = sid if isinstance(sid, str) and sid else None
    if subject is None and sid is None:
        raise Refused("It names nobody.")
    return LogoutToken(token_id, subject, sid, now + dt.timedelta(minutes=20))


def logout_url(provider: Any, *, hint: str | None, back: str) -> str | None:
    """Where to send the browser so that the provider ends its session too, or None if it offers no such place."""
    endpoint = (provider.discovery or {}).get("end_session_endpoint")
    if not endpoint:
        return None
    query = {"post_logout_redirect_uri": back, "client_id": provider.client_id}
    if hint:
        query["id_token_hint"] = hint
    return str(endpoint) + ("&" if "?" in endpoint else "?") + urlencode(query)
