"""Every job with its cadence (chapter 2, 2.12; chapter 3, 3.10). Domains expose ``JOBS``; this collects them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from sqlalchemy.orm import Session

MODULES = (
    "outbox",
    "money",
    "marketplace",
    "invoices",
    "terms",
    "people",
    "operations",
    "security",
    "scim",
    "sso",
    "audit",
)
Function = Callable[[Session], dict[str, Any]]


DAYS = ("Sundays", "Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays")


def cron_words(spec: str) -> str:
    """A cron line as people say it: daily at 02:40 UTC, Saturdays at 21:30 UTC, on the 1st at 19:00 UTC, hourly."""
    minute, hour, day, month, weekday = spec.split()
    if (hour, day, month, weekday) == ("*", "*", "*", "*"):
        return (
            "hourly"
            if minute == "0"
            else f"hourly at :{minute.zfill(2)}"
            if minute.isdigit()
            else f"cron {spec} UTC"
        )
    if not (minute.isdigit() and hour.isdigit() and month == "*"):
        return f"cron {spec} UTC"
    at = f"at {hour.zfill(2)}:{minute.zfill(2)} UTC"
    if (day, weekday) == ("*", "*"):
        return f"daily {at}"
    if day == "*" and weekday.isdigit():
        return f"{DAYS[int(weekday) % 7]} {at}"
    if weekday == "*" and day == "1":
        return f"on the 1st {at}"
    return f"cron {spec} UTC"


@dataclass(frozen=True)
class Job:
    """A named job: every *interval* seconds, or at *cron* times (UTC)."""

    name: str
    function: Function
    interval: int | None = None
    cron: str | None = None
    due: Callable[[], bool] | None = None  # what cron cannot say, such as the first of a month in India

    @property
    def title(self) -> str:
        """The name as people say it: Deliver outbox."""
        return self.name.replace("_", " ").capitalize()

    @property
    def cadence(self) -> str:
        """The schedule in words."""
        if self.cron:
            return cron_words(self.cron)
        seconds = self.interval or 0
        for size, unit in ((3600, "h"), (60, "min")):
            if seconds >= size and seconds % size == 0:
                return f"every {seconds // size} {unit}"
        return f"every {seconds} s"

    @property
    def purpose(self) -> str:
        """The first sentence of the function's docstring."""
        return (self.function.__doc__ or self.name).strip().splitlines()[0]


@cache
def jobs() -> dict[str, Job]:
    """All jobs by name."""
    found: dict[str, Job] = {}
    for module in MODULES:
        for name, cadence, function, *due in import_module(f"app.jobs.{module}").JOBS:
            found[name] = Job(
                name,
                function,
                **({"interval": cadence} if isinstance(cadence, int) else {"cron": cadence}),
                due=due[0] if due else None,
            )
    return found
