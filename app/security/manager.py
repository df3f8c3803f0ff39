"""Flask-AppBuilder's security manager, deciding from the matrix in memory (design rule 4).

Its database tables of roles and permissions are a projection of the matrix, kept equal by ``roles sync``; they are
never asked.
"""

from __future__ import annotations

import datetime as dt
import secrets
from typing import Any

from flask import current_app, g
from flask_appbuilder.security.sqla.manager import SecurityManager
from flask_login import AnonymousUserMixin, LoginManager
from werkzeug.security import generate_password_hash

from app.models import User
from app.security import matrix

# permissions of every signed-in person that no resource carries
SELF_SERVICE = frozenset({("can_get", "MenuApi"), ("can_get", "OpenApi"), ("can_show", "SwaggerView")})


def matrix_verb(permission: str) -> str:
    """``can_read`` -> ``read``; the names of actions stay as they are."""
    return permission.removeprefix("can_")


def grants() -> dict[str, set[tuple[str, str]]]:
    """role -> {(permission, resource)} as ``roles sync`` writes them; ADMIN holds all."""
    out: dict[str, set[tuple[str, str]]] = {role: set(SELF_SERVICE) for role in matrix.ALL_ROLES}
    for resource, verbs in matrix.MATRIX.items():
        for verb in verbs:
            for role in matrix.ALL_ROLES:
                if matrix.allowed([role], resource, verb):
                    out[role].add((f"can_{verb}", resource))
    return out


class ConsoleSecurityManager(SecurityManager):  # type: ignore[misc]
    """Effective roles are the active membership's role plus the platform role, decided per request."""

    user_model = User
    userstatschartview = None

    def create_login_manager(self, app: Any) -> LoginManager:
        manager = super().create_login_manager(app)
        manager.login_view = "AuthView.login"
        manager.request_loader(lambda _: None)
        return manager

    def register_views(self) -> None:
        """Ours: sign-in, sign-up and reset; Flask-AppBuilder's security views stay out."""
        from app.api.session import SessionApi
        from app.views.auth import AuthView

        self.auth_view = self.appbuilder.add_view_no_menu(AuthView())
        self.appbuilder.add_api(SessionApi)

    def load_user(self, pk: Any) -> None:
        """Never asked: sessions are resolved in app/security/requests.py."""
        return None

    # ---- API keys: Flask-AppBuilder's table and hashes, our transaction and our reach (app/security/doors.py) ----
    def create_api_key(
        self, user: Any, name: str, scopes: str | None = None, expires_on: dt.datetime | None = None
    ) -> dict[str, Any]:
        """A new key of *user* in the caller's transaction, which the original would commit; ``key`` is its secret."""
        config = current_app.config
        raw = config["FAB_API_KEY_PREFIXES"][0] + secrets.token_urlsafe(32)
        row = self.api_key_model(
            name=name,
            key_hash=generate_password_hash(raw, method=config["FAB_API_KEY_HASH_METHOD"], salt_length=16),
            lookup_hash=self._compute_lookup_hash(raw),
            key_prefix=config["FAB_API_KEY_PREFIXES"][0],
            user_id=user.id,
            scopes=scopes,
            active=True,
            expires_on=expires_on.astimezone(dt.UTC).replace(tzinfo=None) if expires_on else None,
        )
        self.session.add(row)
        self.session.flush()
        return {"id": row.id, "uuid": row.uuid, "name": name, "key": raw, "expires_on": row.expires_on}

    def validate_api_key(self, api_key_string: str) -> Any:
        """The person behind the key of this request, resolved before any view; never anybody else's."""
        found = g.get("identity")
        return found.user if found is not None and found.key_id is not None else None

    def revoke_api_key(self, uuid: str) -> bool:
        """Not here: app/services/api_keys.py revokes, with its audit row."""
        return False

    def get_user_roles(self, user: Any) -> list[Any]:
        return []

    def has_access(self, permission_name: str, view_name: str) -> bool:
        user = g.get("_login_user")
        if user is None or isinstance(user, AnonymousUserMixin):
            return False
        if permission_name == "menu_access":
            return self._menu_ok(view_name)
        if (permission_name, view_name) in SELF_SERVICE:
            return True
        return matrix.can(matrix_verb(permission_name), view_name)

    def _has_view_access(self, user: Any, permission_name: str, view_name: str) -> bool:
        return self.has_access(permission_name, view_name)

    def _menu_ok(self, name: str) -> bool:
        item = self.appbuilder.menu.find(name)
        if item is None:
            return False
        if item.childs:
            return any(self._menu_ok(child.name) for child in item.childs if child.name != "-")
        view = item.baseview
        if view is None:
            return False
        permission = "can_" + view.get_method_permission(view.default_view)
        return self.has_access(permission, view.class_permission_name)

    def _get_user_permission_view_menus(
        self, user: Any, permission_name: str, view_menus_name: list[str]
    ) -> set[str]:
        return {name for name in view_menus_name if self.has_access(permission_name, name)}

    def is_item_public(self, permission_name: str, view_name: str) -> bool:
        return False

    @staticmethod
    def before_request() -> None:
        """The identity stands already (app/security/requests.py); anonymous requests get Flask-Login's stand-in."""
        if g.get("_login_user") is None:
            g._login_user = current_app.login_manager.anonymous_user()  # type: ignore[attr-defined]
        g.user = g._login_user
