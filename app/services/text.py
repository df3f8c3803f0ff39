"""Text as people type it: short names from long ones, lists of addresses, single lines."""

from __future__ import annotations

import re
import unicodedata

MAX_SLUG = 63
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_SEPARATORS = re.compile(r"[,;\n\r\t]+")
_NAMED = re.compile(r"<([^<>]*)>\s*$")


def group(n: int) -> str:
    """Digits in Indian grouping: 11800000 -> 1,18,00,000. *n* must not be negative."""
    s = str(n)
    if len(s) <= 3:
        return s
    head, tail = s[:-3], s[-3:]
    pairs = [p[::-1] for p in re.findall(r"\d{1,2}", head[::-1])][::-1]
    return ",".join([*pairs, tail])


def money(paise: int | None, sign: bool = False) -> str:
    """Paise as rupees: 11800000 -> ₹1,18,000.00; negative with U+2212; ``sign`` shows + too."""
    if paise is None:
        return "—"
    rupees, rest = divmod(abs(int(paise)), 100)
    lead = "\u2212" if paise < 0 else "+" if sign and paise > 0 else ""
    return f"{lead}₹{group(rupees)}.{rest:02d}"


def amount_in(currency: str, hundredths: int) -> str:
    """An amount of a purchase order: rupees without decimals in Indian grouping, other currencies with two."""
    whole, rest = divmod(abs(int(hundredths)), 100)
    lead = "\u2212" if hundredths < 0 else ""
    if currency == "INR":
        return f"{lead}₹{group((abs(int(hundredths)) + 50) // 100)}"
    sign = {"USD": "$", "EUR": "€", "GBP": "£"}[currency]
    return f"{lead}{sign}{whole:,}.{rest:02d}"


def slugify(name: str) -> str:
    """A short name for addresses: lower-case Latin letters and digits joined by hyphens, at most 63; may be empty."""
    ascii_only = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", ascii_only.lower()).strip("-")[:MAX_SLUG].strip("-")


def one_line(text: str) -> str:
    """*text* without control characters, its white space collapsed."""
    return " ".join(_CONTROL.sub("", text).split())


def paragraphs(text: str) -> str:
    """*text* trimmed, without control characters other than line breaks."""
    return _CONTROL.sub("", text.replace("\r\n", "\n")).strip()


def split_addresses(text: str) -> list[str]:
    """Addresses separated by commas, semicolons or line breaks, in order, empty ones dropped.

    ``Maya Rao <maya@acme.test>`` counts as the address in its brackets.
    """
    parts = (one_line(part) for part in _SEPARATORS.split(text))
    return [m.group(1).strip() if (m := _NAMED.search(part)) else part for part in parts if part]


def split_unique(addresses: list[str]) -> tuple[list[str], list[str]]:
    """(first occurrences, repetitions) of *addresses*, compared without case."""
    seen: set[str] = set()
    first: list[str] = []
    repeated: list[str] = []
    for address in addresses:
        key = address.strip().lower()
        (repeated if key in seen else first).append(address)
        seen.add(key)
    return first, repeated
