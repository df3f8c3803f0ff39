"""Buttons that call services: declared on a view's method, offered where they are possible, posted, confirmed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.errors import Invalid


@dataclass(frozen=True)
class Ask:
    """One question of an action's dialog. *kind*: text, textarea, money, date, select, checkbox, number.

    *suggest* gives values to pick from while a text is typed; others may be typed all the same. *when* says of an item
    whether its page asks at all.
    """

    name: str
    label: str
    kind: str = "text"
    required: bool = False
    hint: str = ""
    options: Sequence[tuple[str, str]] = ()
    max_length: int | None = None
    suggest: Callable[[], Sequence[str]] | None = None
    when: Callable[[Any], bool] | None = None

    def read(self, raw: str | None, problems: dict[str, list[str]]) -> Any:
        """The answer as a value (money as paise, checkbox as bool); what is wrong goes to *problems*."""
        from app.views.forms import parse_date, parse_rupees

        text = (raw or "").strip()
        if self.kind == "checkbox":
            return text == "y"
        if not text:
            if self.required:
                problems.setdefault(self.name, []).append(f"{self.label} is required.")
            return None
        if self.max_length and len(text) > self.max_length:
            problems.setdefault(self.name, []).append(
                f"{self.label} is longer than {self.max_length} characters."
            )
        try:
            if self.kind == "money":
                return parse_rupees(text)
            if self.kind == "date":
                return parse_date(text)
            if self.kind == "number":
                return int(text)
        except ValueError as error:
            problems.setdefault(self.name, []).append(f"{self.label}: {error}")
            return None
        if self.kind == "select" and text not in {v for v, _ in self.options}:
            problems.setdefault(self.name, []).append(f"{self.label}: choose one of the list.")
        return text


@dataclass(frozen=True)
class Action:
    """A declared action; ``func(view, items, **answers)`` does the work in the request's transaction."""

    name: str
    text: str
    func: Callable[..., Any]
    icon: str = "play"
    confirm: str = ""
    confirm_word: str | Callable[[Any], str] = ""
    verb: str = "write"
    danger: bool = False
    primary: bool = False
    single: bool = True
    multiple: bool = False
    asks: tuple[Ask, ...] = field(default=())
    when: Callable[[Any], bool] | None = None

    def word(self, item: Any = None) -> str:
        """What has to be typed to confirm: for one item its own word, for many the action's name."""
        if callable(self.confirm_word):
            return str(self.confirm_word(item)) if item is not None else self.text.upper()
        return self.confirm_word

    def possible(self, item: Any) -> bool:
        """Whether the item is in a state the action applies to."""
        return self.when is None or bool(self.when(item))

    def answers(self, form: Any) -> dict[str, Any]:
        """The dialog's answers. Raises Invalid with every problem at once."""
        problems: dict[str, list[str]] = {}
        values = {a.name: a.read(form.get(a.name), problems) for a in self.asks}
        if problems:
            raise Invalid(problems)
        return values


def action(
    name: str,
    text: str,
    *,
    icon: str = "play",
    confirm: str = "",
    confirm_word: str | Callable[[Any], str] = "",
    verb: str = "write",
    danger: bool = False,
    primary: bool = False,
    single: bool = True,
    multiple: bool = False,
    asks: Sequence[Ask] = (),
    when: Callable[[Any], bool] | None = None,
) -> Callable[..., Any]:
    """Declare a view method as an action.

    *verb* is the matrix verb that opens it; *when* the state it needs (asked for the button and again on the server);
    *confirm* a sentence, *confirm_word* a word to type (or a function of the item); *asks* further questions, handed
    to the method by name. *multiple* puts it on the list's bulk bar.
    """

    def mark(func: Callable[..., Any]) -> Callable[..., Any]:
        func._consilium_action = Action(  # type: ignore[attr-defined]
            name,
            text,
            func,
            icon,
            confirm,
            confirm_word,
            verb,
            danger,
            primary,
            single,
            multiple,
            tuple(asks),
            when,
        )
        return func

    return mark


def collect(view_class: type[Any]) -> dict[str, Action]:
    """The actions a class declares, in the order they are written."""
    found: dict[str, Action] = {}
    for cls in reversed(view_class.__mro__):
        for attr in vars(cls).values():
            declared = getattr(attr, "_consilium_action", None)
            if declared is not None:
                found[declared.name] = declared
    return found
