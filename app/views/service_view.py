"""Generated views whose forms call services."""

from __future__ import annotations

from typing import Any

from flask import g
from wtforms import validators

from app.api.http import check_gate
from app.services import org_status
from app.views.base import TenantView

REQUIRED = validators.InputRequired(message="Please fill this in.")


def strip(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


class ServiceView(TenantView):
    """A view whose form hands its values to a service; rows change by actions only."""

    writes = True
    gate = ""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.include_route_methods -= {"edit", "delete"}

    def can_edit(self, item: Any) -> bool:
        return False

    def may(self, verb: str) -> bool:
        """Nothing is written for an organisation that is not active, so no button is offered either."""
        status = (g.get("org") or {}).get("status") or "ACTIVE"
        return (
            super().may(verb)
            and org_status.refusal(status, self.resource, verb, active=verb == "write") is None
        )

    def open_gate(self) -> None:
        """The REST resource's gate, for the generated form. Raises what REST would answer."""
        check_gate(self.gate or self.resource, "write", active=True)
