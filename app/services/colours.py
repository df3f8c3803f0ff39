"""Text on an organisation's colour: chosen by contrast, as WCAG 2.2 measures it (1.4.3)."""

from __future__ import annotations

LIGHT, DARK = "#ffffff", "#18181b"
ENOUGH = 4.5  # to 1, for text of usual size


def luminance(colour: str) -> float:
    """Relative luminance of ``#rrggbb``, 0 to 1."""

    def channel(at: int) -> float:
        value = int(colour[at : at + 2], 16) / 255
        return value / 12.92 if value <= 0.04045 else float(((value + 0.055) / 1.055) ** 2.4)

    return 0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours, 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def ink_on(colour: str) -> str:
    """White or near-black, whichever reads better on *colour*."""
    return max((LIGHT, DARK), key=lambda ink: contrast(colour, ink))
