"""GSTIN: form and check character (chapter 4, 4.2, "GSTIN")."""

from __future__ import annotations

import re

from app.errors import DomainError
from app.services.tax import STATES

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_FORM = re.compile(r"^[0-9]{2}[A-Z]{5}[0-9]{4}[A-Z][1-9A-Z][ZCD][0-9A-Z]$")
FOREIGN = "96"  # place of supply outside India; no registration carries it


def check_character(first14: str) -> str:
    """The fifteenth character: weights 1, 2, 1, 2 … over base 36, each product p counting p//36 + p%36."""
    total = 0
    for position, character in enumerate(first14):
        product = _ALPHABET.index(character) * (1 + position % 2)
        total += product // 36 + product % 36
    return _ALPHABET[(36 - total % 36) % 36]


def is_valid(gstin: str) -> bool:
    """Whether *gstin* (upper case) is well formed, of a known state, with the right check character."""
    return (
        bool(_FORM.match(gstin))
        and gstin[:2] in STATES
        and gstin[:2] != FOREIGN
        and check_character(gstin[:14]) == gstin[14]
    )


def normalise(raw: str) -> str:
    """*raw* without spaces, in upper case. Raises INVALID_GSTIN_FORMAT."""
    gstin = re.sub(r"\s+", "", raw).upper()
    if not is_valid(gstin):
        raise DomainError("INVALID_GSTIN_FORMAT")
    return gstin
