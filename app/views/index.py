"""The address "/": where a person belongs."""

from __future__ import annotations

from typing import Any

from flask import g, redirect, url_for
from flask_appbuilder import IndexView, expose

from .organizations import landing_address


class ConsoleIndexView(IndexView):  # type: ignore[misc]
    """Staff land in the staff console, members at their organisation, everybody else on the personal dashboard."""

    @expose("/")
    def index(self) -> Any:
        if g.get("identity") is None:
            return redirect(url_for("AuthView.login"))
        if g.identity.user.is_staff:
            return redirect("/admin")
        return redirect(landing_address())
