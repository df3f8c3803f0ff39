"""A hot SQL statement, translated to the driver's form once instead of at every execution.

psycopg keeps translations only of short texts with few values; of checkout's statements it would parse eight kilobytes
again for each booking, a millisecond of Python.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from psycopg import Connection, RawCursor
from psycopg.rows import RowFactory, tuple_row

_NAMED = re.compile(r"%\((\w+)\)s|%%")


class Statement:
    """*sql* with ``%(name)s`` placeholders. ``values`` may know more names than the statement uses."""

    def __init__(self, sql: str) -> None:
        self.names: tuple[str, ...] = tuple(dict.fromkeys(m[1] for m in _NAMED.finditer(sql) if m[1]))
        number = {name: n for n, name in enumerate(self.names, 1)}
        self.text = _NAMED.sub(lambda m: f"${number[m[1]]}" if m[1] else "%", sql).encode()

    def run(
        self, raw: Connection[Any], values: Mapping[str, Any], row_factory: RowFactory[Any] = tuple_row
    ) -> RawCursor[Any]:
        """Execute it on *raw*, with or without a pipeline; raises KeyError for a value that is missing."""
        return RawCursor(raw, row_factory=row_factory).execute(self.text, [values[n] for n in self.names])
