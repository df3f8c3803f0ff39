"""The low-code base: one declarative class gives a list, a detail page, actions, export, Data view and REST resource.

docs/adding-a-model.md shows how; ``register`` makes the pieces.
"""

from .actions import Ask, action
from .core import ConsoleView, zone
from .refs import Ref, label_of
from .registry import Entry, Registry, auto, finish, page, platform, register, registry
from .related import event
from .rows import Rows
from .scopes import PlatformView, TenantView

__all__ = [
    "Ask",
    "ConsoleView",
    "Entry",
    "PlatformView",
    "Ref",
    "Registry",
    "Rows",
    "TenantView",
    "action",
    "auto",
    "event",
    "finish",
    "label_of",
    "page",
    "platform",
    "register",
    "registry",
    "zone",
]
