"""ID tokens and keys that only an attacker, or a broken provider, sends: refused in words, never by a crash."""

from __future__ import annotations

import base64
import datetime as dt
import json
import types

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc import jwk, jws

from app.identity import oidc

NOW = dt.datetime(2026, 11, 26, 5, 0, tzinfo=dt.UTC)
PROVIDER = types.SimpleNamespace(
    issuer="https://op.example",
    client_id="client",
    discovery={"jwks_uri": "https://op.example/keys", "userinfo_endpoint": "https://op.example/userinfo"},
)


@pytest.fixture(scope="module")
def key():
    return jwk.RSAKey.import_key(rsa.generate_private_key(public_exponent=65537, key_size=2048))


@pytest.fixture
def published(key, monkeypatch):
    """What the provider's jwks_uri answers."""
    found = [{**key.as_dict(private=False), "kid": "one", "use": "sig"}]
    monkeypatch.setattr(oidc, "keys", lambda settings, uri, *, again=False: list(found))
    return found


def token(key, header=None, **claims):
    body = {
        "iss": "https://op.example",
        "aud": "client",
        "sub": "s",
        "nonce": "n",
        "iat": NOW.timestamp(),
        "exp": NOW.timestamp() + 300,
        "email": "a@b.test",
        "email_verified": True,
        **claims,
    }
    body = {k: v for k, v in body.items() if v is not None}
    return jws.serialize_compact(
        {"alg": "RS256", "kid": "one", **(header or {})}, json.dumps(body).encode(), key
    )


def read(settings, text, **more):
    return oidc.read_id_token(settings, PROVIDER, {"id_token": text}, nonce="n", now=NOW, **more)


def part(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_the_honest_one(settings, key, published):
    assert read(settings, token(key))["sub"] == "s"


@pytest.mark.parametrize(
    "kid", ["../../etc/passwd", "one' OR 1=1 --", "", "x" * 5000, "\x00", ["one"], {"a": 1}, 5]
)
def test_a_kid_is_only_compared(settings, key, published, kid):
    _, body, signature = token(key).split(".")
    with pytest.raises(oidc.Refused):
        read(settings, f"{part({'alg': 'RS256', 'kid': kid})}.{body}.{signature}")


@pytest.mark.parametrize("name", ["jku", "x5u", "jwk", "x5c"])
def test_keys_a_token_brings_along_prove_nothing(settings, published, name):
    theirs = jwk.RSAKey.import_key(rsa.generate_private_key(public_exponent=65537, key_size=2048))
    value = {"jwk": theirs.as_dict(private=False), "x5c": ["MIIB"]}.get(name, "https://evil.example/keys")
    head, body, signature = token(theirs).split(".")
    head = part({"alg": "RS256", "kid": "one", name: value})
    signed = jws.serialize_compact({"alg": "RS256", "kid": "one"}, b"{}", theirs)
    for text in (f"{head}.{body}.{signature}", signed):
        with pytest.raises(oidc.Refused):
            read(settings, text)


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none"},
        {"alg": "NONE"},
        {"alg": "HS256"},
        {"alg": ["RS256"]},
        {"alg": None},
        {"alg": "RS256", "crit": ["b64"], "b64": False},
        {"alg": "RS256", "b64": False},
        {"alg": "ES256"},
        {"alg": "EdDSA"},
        [],
        "RS256",
        None,
    ],
    ids=str,
)
def test_headers(settings, key, published, header):
    _, body, signature = token(key).split(".")
    for end in (signature, "", "AAAA"):
        with pytest.raises(oidc.Refused):
            read(settings, f"{part(header)}.{body}.{end}")


@pytest.mark.parametrize(
    "bad",
    [
        {"kty": "RSA"},
        {"kty": "RSA", "n": 5, "e": "AQAB"},
        {"kty": "RSA", "n": "", "e": ""},
        {"kty": "RSA", "n": "AA", "e": "AA"},
        {"kty": "RSA", "n": None, "e": None},
        {"kty": "RSA", "n": "\u00e9", "e": "AQAB"},
        {"kty": "RSA", "n": ["x"], "e": {"y": 1}},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": "EC", "crv": "P-999", "x": "AA", "y": "AA"},
        {"kty": "EC", "crv": 5, "x": 1, "y": 2},
        {"kty": "OKP", "crv": "Ed25519", "x": "AA"},
        {"kty": "OKP", "crv": "X25519", "x": "A" * 43},
        {"kty": "RSA", "key_ops": "sign"},
        {"kty": ["RSA"]},
        {"kty": "oct", "k": "AAAA"},
    ],
    ids=str,
)
@pytest.mark.parametrize("alg", ["RS256", "ES256", "EdDSA"])
def test_keys_that_are_none_do_not_hide_the_good_one(settings, key, published, bad, alg):
    good, text = published[0], token(key)
    published[:] = [{**bad, "kid": "one"}, good]
    assert read(settings, text)["sub"] == "s"
    published[:] = [{**bad, "kid": "one"}]
    _, body, signature = text.split(".")
    with pytest.raises(oidc.Refused):
        read(settings, f"{part({'alg': alg, 'kid': 'one'})}.{body}.{signature}")


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": "a\x00b"},
        {"email": "a\x00@b.test"},
        {"name": "\ud800"},
        {"extra": ["deep", {"x": "\x00"}]},
        {"exp": float("nan")},
        {"exp": float("inf")},
        {"exp": True},
        {"iat": "0"},
        {"aud": ["client", "client"]},
        {"aud": ["client", "other"]},
        {"aud": {"client": 1}},
        {"iss": "https://op.example/"},
        {"iss": ["https://op.example"]},
        {"nonce": ["n"]},
        {"nonce": "\u00e9"},
    ],
    ids=str,
)
def test_claims(settings, key, published, claims):
    with pytest.raises(oidc.Refused):
        read(settings, token(key, **claims))


@pytest.mark.parametrize("off", [-120, 121])
def test_clocks(settings, key, published, off):
    """Two minutes are forgiven, not a second more."""
    for shift, fits in ((off, False), (off + (1 if off < 0 else -1), True)):
        at = NOW.timestamp() + shift
        times = {"exp": at, "iat": at - 60} if off < 0 else {"iat": at, "exp": at + 60}
        if fits:
            assert read(settings, token(key, **times))
        else:
            with pytest.raises(oidc.Refused):
                read(settings, token(key, **times))


@pytest.mark.parametrize(
    "answer",
    [
        (302, b"", {"location": "http://169.254.169.254/latest/meta-data/"}),
        (200, b'{"sub": "s", "email": "a\\u0000@b.test"}', {}),
        (200, b"[" * 100_000, {}),
        (200, b"[]", {}),
        (200, b'{"sub": ["s"]}', {}),
    ],
    ids=["redirect inward", "NUL", "deep", "list", "sub"],
)
def test_userinfo(settings, monkeypatch, answer):
    asked = []

    def fetch(settings, url, **more):
        asked.append(url)
        return oidc.egress.Answer(answer[0], answer[2], answer[1])

    monkeypatch.setattr(oidc.egress, "fetch", fetch)
    with pytest.raises(oidc.Refused):
        oidc.with_userinfo(settings, PROVIDER, {"access_token": "t"}, {"sub": "s"})
    assert asked == ["https://op.example/userinfo"]


def test_endless_keys(settings, monkeypatch):
    """More than 256 KB is not read, and nothing of it is believed."""
    oidc.forget_keys()
    for found in ({"keys": [{}] * 101}, {"keys": "x"}, {"keys": [1]}, {}):
        body = json.dumps(found).encode()
        monkeypatch.setattr(
            oidc.egress, "fetch", lambda *a, body=body, **k: oidc.egress.Answer(200, {}, body)
        )
        with pytest.raises(oidc.Refused):
            oidc.keys(settings, "https://op.example/keys")
    sizes = []

    def fetch(settings, url, *, max_bytes, **more):
        sizes.append(max_bytes)
        raise oidc.egress.Unreachable("too large")

    monkeypatch.setattr(oidc.egress, "fetch", fetch)
    with pytest.raises(oidc.Refused):
        oidc.keys(settings, "https://op.example/keys")
    assert sizes == [oidc.MAX_JSON]
