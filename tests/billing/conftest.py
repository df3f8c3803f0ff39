"""A shop that buys credits, and a provider that posts its webhooks into the test client."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.gateways import provider
from app.security import context
from app.services import gateway_events
from tests.factories import unique


@pytest.fixture
def job(app, web_engine):
    with app.app_context(), Session(web_engine, expire_on_commit=False) as s:
        context._current.set(context.Ctx(scope="job"))
        yield s
        s.rollback()


@pytest.fixture
def shop(make, client, app, job, settings, owner_engine):
    """An organisation with a billing administrator who buys credits; the provider posts into the test client.

    Both ends start with nothing that waits: what other tests left would be counted with this one's, and an event of
    theirs that is due again would meet the fault that this test injects.
    """
    with owner_engine.begin() as c:
        c.execute(text("update sandbox_webhook set next_at = null where delivered_at is null"))
        c.execute(text("update gateway_event set status = 'IGNORED' where status = 'RECEIVED'"))

    def act():  # a request in this thread ends with its identity forgotten; a worker has no requests in its thread
        context.use(job, context.Ctx(scope="job"))

    class Shop:
        org = make.org()
        owner = make.member(org, "OWNER")
        billing = make.member(org, "BILLING_ADMIN")
        path = f"/api/organizations/{org.slug}/billing-account/wallet/top-ups"

        def buy(self, paise=20_000_000, who=None, key=None):
            headers = make.bearer(
                who or self.billing, **({} if key == "" else {"Idempotency-Key": key or unique("key")})
            )
            return client.post(self.path, json={"amount_paise": paise}, headers=headers)

        def pay(self, order_id, **kw):
            act()
            provider.pay(job, order_id, **kw)
            job.commit()

        def post(self, url, body, headers):
            return client.post("/webhooks/gateway/sandbox", data=body, headers=headers).status_code

        def deliver(self):
            act()
            return provider.deliver(job, "http://ignored", settings.sandbox_webhook_secret, post=self.post)

        def process(self):
            act()
            return gateway_events.process(job, settings)

        def webhooks(self):
            done = self.deliver()
            self.process()
            return done

        def act(self):
            act()

        def status(self, top_up_id):
            return make.rows(
                "select status, failure_code from wallet_top_up where public_id = :i", i=top_up_id
            )[0]

    return Shop()


def unapplied(make, org):
    """What UNAPPLIED_RECEIPT holds of this organisation's payments, paise."""
    return make.one(
        "select coalesce(sum(case e.side when 'C' then e.amount_paise else -e.amount_paise end), 0) from ledger_entry e "
        "join ledger_account a on a.id = e.account_id join ledger_transaction t on t.id = e.transaction_id "
        "join unapplied_receipt u on t.key in ('unapplied:' || u.provider_payment_id, 'unapplied-refund:' || u.public_id) "
        "where a.kind = 'UNAPPLIED_RECEIPT' and u.organization_id = :o",
        o=org.id,
    )
