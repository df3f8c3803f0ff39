"""kill -9 of a web worker, the RQ worker and PostgreSQL under load: the short run of ``bin/bench kill``."""

from __future__ import annotations

from benchmarks import kill


def test_nothing_is_lost_and_every_key_answers_once(capsys):
    status = kill.main(["--seconds", "6", "--clients", "3", "--kills", "web,worker,postgres"])
    said = capsys.readouterr().out
    assert status == 0, said
