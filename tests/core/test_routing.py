"""Rules that compile late build what Werkzeug's own builders do."""

from __future__ import annotations

import uuid
from typing import Any

from werkzeug.routing import AnyConverter, Rule

from app.routing import LateRule


def value_for(converter: Any) -> Any:
    if isinstance(converter, AnyConverter):
        return sorted(converter.items)[0]
    name = type(converter).__name__
    return (
        uuid.UUID(int=7)
        if "UUID" in name
        else 3
        if "Integer" in name
        else "a b/é"
        if "Path" in name
        else "a&b"
    )


def test_every_rule_builds_what_werkzeug_would(app):
    late = [rule for rule in app.url_map.iter_rules() if type(rule) is LateRule]
    assert len(late) > 1_000
    for rule in late:
        values = {name: value_for(c) for name, c in rule._converters.items()} | {"q": "x y"}
        for unknown in (False, True):
            wanted = tuple(Rule._compile_builder(rule, unknown)(rule, **values))
            assert rule.build(dict(values), unknown) == wanted, rule
            assert rule.build(dict(values), unknown) == wanted, "and when asked again"
