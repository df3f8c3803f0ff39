"""URL rules that are ready to be matched at once and compile what builds their addresses when first asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from werkzeug.routing import Rule


class LateRule(Rule):
    """Werkzeug compiles two builders for each rule when it is added: about a millisecond, of which a console of 1,600 rules
    uses a few dozen before its first page. Everything else is as it is there."""

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        made: Callable[..., tuple[str, str]] | None = None

        def build(rule: Rule, /, **values: Any) -> tuple[str, str]:
            nonlocal made
            if made is None:  # two threads may both compile it: to the same end
                made = super(LateRule, self)._compile_builder(append_unknown)
            return made(rule, **values)

        return build
