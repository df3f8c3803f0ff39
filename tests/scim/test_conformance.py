"""scim2-tester, a conformance checker nobody here wrote, over everything the service says it offers."""

from __future__ import annotations

import uuid

from scim2_client.engines.wsgi import WSGISCIMClient
from scim2_tester import Status, check_server, filling


def test_the_checker_finds_nothing(directory, monkeypatch):
    """Its random words become addresses of the organisation's domain where they stand for userName: no schema can say
    that the service takes no others."""
    examples = filling.get_random_example_value

    def on_the_domain(path):
        return f"{uuid.uuid4()}@{directory.domain}" if str(path).endswith("userName") else examples(path)

    monkeypatch.setattr(filling, "get_random_example_value", on_the_domain)
    client = WSGISCIMClient(
        directory.app,
        base_url="http://console.test/scim/v2",
        headers={"Authorization": f"Bearer {directory.raw}"},
    )
    results = check_server(client)
    bad = [
        f"{r.status.name} {r.title}: {r.reason}"
        for r in results
        if r.status not in (Status.SUCCESS, Status.SKIPPED)
    ]
    assert bad == [], "\n".join(bad)
    assert len(results) > 50 and sum(r.status == Status.SKIPPED for r in results) == 0
