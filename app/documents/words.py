"""Amounts in words, as Indian documents say them: lakh and crore (chapter 4, 4.2)."""

from __future__ import annotations

from num2words import num2words

CRORE = 10**7


def _words(n: int) -> str:
    """Cardinal in Indian counting. num2words ends at a thousand crore, so crores are counted here, at any height."""
    crores, rest = divmod(n, CRORE)
    parts = [f"{_words(crores)} Crore"] if crores else []
    if rest or not crores:
        text = num2words(rest, lang="en_IN").replace(",", " ")
        parts.append(" ".join(w.title() for w in text.split() if w != "and"))
    return " ".join(parts)


def rupees_in_words(paise: int) -> str:
    """11800000 → Rupees One Lakh Eighteen Thousand Only; paise follow as “and Fifty Paise”. Raises ValueError below zero."""
    if paise < 0:
        raise ValueError("amounts on documents are not negative")
    whole, rest = divmod(paise, 100)
    return f"Rupees {_words(whole)}{f' and {_words(rest)} Paise' if rest else ''} Only"
