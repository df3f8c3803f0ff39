"""Running Consilium on one machine: embedded servers, provisioning of database roles, supervision of processes.

Nothing here imports Flask: the supervisor stays small, single-threaded and safe to fork.
"""

from __future__ import annotations


class RuntimeFailure(Exception):
    """Something the operator has to mend. The message is one sentence, shown as it is; the exit status is 1."""
