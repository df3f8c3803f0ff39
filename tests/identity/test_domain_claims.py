"""Domain claims over real DNS (chapter 3, "Domain claims")."""

from __future__ import annotations

import threading

import pytest

from app.models import DomainClaim
from tests.factories import unique


@pytest.fixture
def acme(make):
    return make.member(make.org(slug=unique("acme")), "OWNER")


@pytest.fixture
def at(make):
    def path(member, rest=""):
        slug = make.one("SELECT slug FROM organization WHERE id = :i", i=member.organization_id)
        return f"/api/organizations/{slug}/domain-claims{rest}"

    return path


def claimed(client, make, at, member, domain):
    answer = client.post(at(member), json={"domain": domain}, headers=make.bearer(member))
    assert answer.status_code == 201, answer.json
    return answer.json


@pytest.mark.scenario("I-2")
def test_claim_prove_and_nobody_else_may(client, make, at, acme, zone):
    domain = f"{unique('new')}.test"
    claim = claimed(client, make, at, acme, domain)
    assert claim["txt_name"] == f"_consilium-verify.{domain}"
    assert claim["txt_value"].startswith("consilium-verify=") and len(claim["txt_value"]) == 17 + 64
    headers = make.bearer(acme)
    refused = client.post(at(acme, f"/{domain}/verify"), headers=headers)
    assert (refused.status_code, refused.json["code"]) == (422, "DNS_VERIFICATION_FAILED")
    assert make.one("SELECT verified_at FROM domain_claim WHERE domain = :d", d=domain) is None
    zone.publish(claim["txt_name"], claim["txt_value"])
    done = client.post(at(acme, f"/{domain}/verify"), headers=headers)
    assert done.status_code == 200 and done.json["already_verified"] is False and done.json["verified_at"]
    again = client.post(at(acme, f"/{domain}/verify"), headers=headers)
    assert again.json["already_verified"] is True and again.json["verified_at"] == done.json["verified_at"]
    zeta = make.member(make.org(), "OWNER")
    taken = client.post(at(zeta), json={"domain": domain}, headers=make.bearer(zeta))
    assert (taken.status_code, taken.json["code"]) == (409, "DOMAIN_ALREADY_CLAIMED")
    actions = make.rows(
        "SELECT action FROM org_audit_log WHERE organization_id = :o AND action LIKE 'DOMAIN%' ORDER BY id",
        o=acme.organization_id,
    )
    assert [a.action for a in actions] == ["DOMAIN_CLAIMED", "DOMAIN_VERIFIED"]


@pytest.mark.scenario("I-3")
def test_a_pending_rival_loses_its_claim(client, make, at, acme, zone):
    domain, zeta = f"{unique('rival')}.test", make.member(make.org(), "OWNER")
    claimed(client, make, at, zeta, domain)
    mine = claimed(client, make, at, acme, domain)
    zone.publish(mine["txt_name"], mine["txt_value"])
    assert client.post(at(acme, f"/{domain}/verify"), headers=make.bearer(acme)).status_code == 200
    left = make.rows("SELECT organization_id FROM domain_claim WHERE domain = :d", d=domain)
    assert [r.organization_id for r in left] == [acme.organization_id]
    listed = client.get(at(zeta), headers=make.bearer(zeta)).json["domain_claims"]
    assert domain not in [c["domain"] for c in listed]
    assert make.one(
        "SELECT count(*) FROM org_audit_log WHERE organization_id = :o AND action = 'DOMAIN_RELEASED'",
        o=zeta.organization_id,
    )


def test_two_rivals_who_prove_at_once_have_one_winner(app, make, at, zone):
    domain = f"{unique('race')}.test"
    members = [make.member(make.org(), "OWNER") for _ in range(2)]
    claims = [claimed(app.test_client(), make, at, m, domain) for m in members]
    zone.publish(claims[0]["txt_name"], *[c["txt_value"] for c in claims])
    answers, gate = [], threading.Barrier(2)
    tokens = [make.bearer(m) for m in members]
    paths = [at(m, f"/{domain}/verify") for m in members]

    def prove(i):
        gate.wait()
        answers.append(app.test_client().post(paths[i], headers=tokens[i]).status_code)

    threads = [threading.Thread(target=prove, args=(i,)) for i in range(2)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert sorted(answers)[0] == 200 and sorted(answers)[1] in (404, 409)
    assert (
        make.one("SELECT count(*) FROM domain_claim WHERE domain = :d AND verified_at IS NOT NULL", d=domain)
        == 1
    )


@pytest.mark.parametrize("shape", ["split", "among others", "alias", "alias of an alias", "truncated"])
def test_dns_answers_in_every_honest_shape(client, make, at, acme, zone, shape):
    domain = f"{unique('shape')}.test"
    claim = claimed(client, make, at, acme, domain)
    name, value = claim["txt_name"], claim["txt_value"]
    if shape == "split":
        zone.publish(name, value, split=20)
    elif shape == "among others":
        zone.publish(name, "v=spf1 -all", value, "other-verify=1")
    elif shape == "alias":
        zone.aliases[name] = f"txt.{domain}"
        zone.publish(f"txt.{domain}", value)
    elif shape == "alias of an alias":
        zone.aliases |= {name: f"one.{domain}", f"one.{domain}": f"two.{domain}"}
        zone.publish(f"two.{domain}", value)
    else:
        zone.publish(name, value, *[f"padding-{i}-{'x' * 200}" for i in range(12)])
        zone.broken[name] = "truncate"
    answer = client.post(at(acme, f"/{domain}/verify"), headers=make.bearer(acme))
    assert answer.status_code == 200, answer.json
    if shape == "truncated":
        assert ("tcp", name) in zone.asked


@pytest.mark.parametrize(
    ("shape", "status", "code"),
    [
        ("nxdomain", 422, "DNS_VERIFICATION_FAILED"),
        ("another value", 422, "DNS_VERIFICATION_FAILED"),
        ("a longer value", 422, "DNS_VERIFICATION_FAILED"),
        ("no txt", 422, "DNS_VERIFICATION_FAILED"),
        ("alias to nowhere", 422, "DNS_VERIFICATION_FAILED"),
        ("alias in a circle", 422, "DNS_VERIFICATION_FAILED"),
        ("servfail", 502, "DNS_RESOLVE_ERROR"),
        ("silence", 502, "DNS_RESOLVE_ERROR"),
    ],
)
def test_dns_that_does_not_prove(client, make, at, acme, zone, shape, status, code):
    domain = f"{unique('bad')}.test"
    claim = claimed(client, make, at, acme, domain)
    name, value = claim["txt_name"], claim["txt_value"]
    if shape == "another value":
        zone.publish(name, "consilium-verify=" + "0" * 64)
    elif shape == "a longer value":
        zone.publish(name, value + "0")
    elif shape == "no txt":
        zone.txt[name] = []
    elif shape == "alias to nowhere":
        zone.aliases[name] = f"nowhere.{domain}"
    elif shape == "alias in a circle":
        zone.aliases |= {name: f"b.{domain}", f"b.{domain}": name}
    elif shape in ("servfail", "silence"):
        zone.broken[name] = shape
    answer = client.post(at(acme, f"/{domain}/verify"), headers=make.bearer(acme))
    assert (answer.status_code, answer.json["code"]) == (status, code)
    assert make.one("SELECT verified_at FROM domain_claim WHERE domain = :d", d=domain) is None


@pytest.mark.parametrize(
    "domain", ["gmail.com", "rediffmail.com", "HEY.com", "co.in", "github.io", "test", "com", "outlook.com."]
)
def test_public_domains_belong_to_nobody(client, make, at, acme, domain):
    answer = client.post(at(acme), json={"domain": domain}, headers=make.bearer(acme))
    assert answer.status_code == 400 and answer.json["code"] in ("PUBLIC_DOMAIN", "VALIDATION_FAILED")
    assert answer.json["code"] == "PUBLIC_DOMAIN" or "." not in domain.strip(".")


@pytest.mark.parametrize(
    "domain",
    ["", "a", "acme", "-acme.com", "ac me.com", "a@acme.com", "https://acme.com", "1.2.3.4", "a..com"],
)
def test_what_is_no_domain(client, make, at, acme, domain):
    answer = client.post(at(acme), json={"domain": domain}, headers=make.bearer(acme))
    assert (answer.status_code, answer.json["code"]) == (400, "VALIDATION_FAILED")


def test_names_are_kept_in_small_punycode(client, make, at, acme):
    assert claimed(client, make, at, acme, f"MÜNCHEN-{unique('x')}.Example.")["domain"].startswith(
        "xn--mnchen-"
    )


def test_claiming_twice_is_the_same_claim(client, make, at, acme):
    domain = f"{unique('twice')}.test"
    first, second = (claimed(client, make, at, acme, domain) for _ in range(2))
    assert first["txt_value"] == second["txt_value"]
    assert make.one("SELECT count(*) FROM domain_claim WHERE domain = :d", d=domain) == 1


def test_pending_claims_end_after_a_fortnight(client, make, at, acme, zone, run, travel):
    domain = f"{unique('old')}.test"
    claim = claimed(client, make, at, acme, domain)
    travel(days=14)
    zone.publish(claim["txt_name"], claim["txt_value"])
    late = client.post(at(acme, f"/{domain}/verify"), headers=make.bearer(acme))
    assert late.status_code == 404
    assert run("reverify_domains")["expired"] >= 1
    assert make.one("SELECT count(*) FROM domain_claim WHERE domain = :d", d=domain) == 0


@pytest.mark.parametrize("role", ["MAINTAINER", "BILLING_ADMIN", "MANAGER", "LEARNER"])
def test_only_owners_claim(client, make, at, acme, role):
    org = make.one("SELECT id FROM organization WHERE id = :i", i=acme.organization_id)
    other = make.member(type("O", (), {"id": org})(), role)
    answer = client.post(at(acme), json={"domain": f"{unique('no')}.test"}, headers=make.bearer(other))
    assert (answer.status_code, answer.json["code"]) == (403, "OWNER_REQUIRED")


def verified_claim(make, zone, member, name="lapse"):
    domain = f"{unique(name)}.test"
    from app import clock

    now = clock.now()
    row = make.add(
        DomainClaim(
            organization_id=member.organization_id,
            domain=domain,
            verification_token="ab" * 32,
            claimed_at=now,
            verified_at=now,
            last_passed_at=now,
        )
    )
    zone.publish(f"_consilium-verify.{domain}", f"consilium-verify={row.verification_token}")
    return row


def test_a_failing_domain_warns_and_lapses(make, acme, zone, run, travel):
    row = verified_claim(make, zone, acme)
    assert run("reverify_domains")["passed"] >= 1
    zone.txt.clear()
    warned = []
    for day in range(1, 15):
        travel(days=day)
        before = make.one(
            "SELECT count(*) FROM outbox_message WHERE payload->>'template' IN ('domain_failing', 'domain_lapsed')"
            " AND payload->'values'->>'domain' = :d",
            d=row.domain,
        )
        run("reverify_domains")
        after = make.rows(
            "SELECT payload->>'template' AS template FROM outbox_message WHERE payload->'values'->>'domain' = :d"
            " ORDER BY id",
            d=row.domain,
        )
        if len(after) > before:
            warned.append((day, after[-1].template))
        lapsed = make.one("SELECT lapsed_at FROM domain_claim WHERE id = :i", i=row.id)
        assert (lapsed is not None) == (day == 14), day
    assert warned == [
        (1, "domain_failing"),
        (7, "domain_failing"),
        (13, "domain_failing"),
        (14, "domain_lapsed"),
    ]
    assert (
        make.one(
            "SELECT count(*) FROM org_audit_log WHERE organization_id = :o AND action = 'DOMAIN_LAPSED'"
            " AND details->>'domain' = :d",
            o=acme.organization_id,
            d=row.domain,
        )
        == 1
    )


def test_a_record_that_returns_starts_over(make, acme, zone, run, travel):
    row = verified_claim(make, zone, acme)
    kept = dict(zone.txt)
    zone.txt.clear()
    travel(days=10)
    run("reverify_domains")
    assert make.one("SELECT failing_since FROM domain_claim WHERE id = :i", i=row.id) is not None
    zone.txt.update(kept)
    travel(days=11)
    run("reverify_domains")
    assert make.one("SELECT failing_since FROM domain_claim WHERE id = :i", i=row.id) is None


def test_silent_name_servers_and_a_job_that_slept_lapse_nobody_at_once(make, acme, zone, run, travel):
    row = verified_claim(make, zone, acme)
    zone.broken[f"_consilium-verify.{row.domain}"] = "servfail"
    travel(days=3)
    run("reverify_domains")
    assert make.one("SELECT failing_since FROM domain_claim WHERE id = :i", i=row.id) is None
    zone.broken.clear()
    zone.txt.clear()
    travel(days=40)
    run("reverify_domains")
    found = make.rows("SELECT failing_since, lapsed_at FROM domain_claim WHERE id = :i", i=row.id)[0]
    assert found.failing_since is not None and found.lapsed_at is None


def test_a_lapsed_domain_is_verified_again(client, make, at, acme, zone, run, travel):
    row = verified_claim(make, zone, acme)
    kept = dict(zone.txt)
    zone.txt.clear()
    for day in (1, 14):
        travel(days=day)
        run("reverify_domains")
    assert make.one("SELECT lapsed_at FROM domain_claim WHERE id = :i", i=row.id) is not None
    zone.txt.update(kept)
    answer = client.post(at(acme, f"/{row.domain}/verify"), headers=make.bearer(acme))
    assert answer.status_code == 200 and answer.json["already_verified"] is False
    assert make.one("SELECT lapsed_at FROM domain_claim WHERE id = :i", i=row.id) is None


def test_verifying_is_asked_ten_times_a_minute_at_most(client, make, at, acme, zone):
    domain = f"{unique('often')}.test"
    claimed(client, make, at, acme, domain)
    headers = make.bearer(acme)
    statuses = [client.post(at(acme, f"/{domain}/verify"), headers=headers).status_code for _ in range(11)]
    assert statuses == [422] * 10 + [429]


def test_a_domain_is_released(client, make, at, acme):
    domain = f"{unique('bye')}.test"
    claimed(client, make, at, acme, domain)
    assert client.delete(at(acme, f"/{domain}"), headers=make.bearer(acme)).status_code == 204
    assert client.delete(at(acme, f"/{domain}"), headers=make.bearer(acme)).status_code == 404
