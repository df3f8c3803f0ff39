"""localstripe, with the pieces it lacks and the product needs: Checkout sessions, idempotency keys for
them, and lists by date and customer.

Payment intents, customers, payment methods, refunds, the balance and the signed webhooks are localstripe's own; a session
pays by one of its intents. Run as a process of its own: ``python stripe_peer.py`` prints the port it listens on.
"""

from __future__ import annotations

import socket
import sys

from aiohttp import web
from localstripe import resources, server
from localstripe.errors import UserError
from localstripe.resources import (
    BalanceTransaction,
    Customer,
    Event,
    PaymentIntent,
    PaymentMethod,
    StripeObject,
)
from localstripe.webhooks import schedule_webhook

CARD = {"number": "4242424242424242", "exp_month": "12", "exp_year": "2040", "cvc": "123"}
MADE: dict[str, Session] = {}


class Session(StripeObject):
    """A Checkout session in the format of Stripe's reference, as far as the product reads it."""

    object = "checkout.session"
    _id_prefix = "cs_test_"

    def __init__(
        self,
        mode=None,
        line_items=None,
        customer=None,
        currency=None,
        client_reference_id=None,
        metadata=None,
        payment_intent_data=None,
        success_url=None,
        cancel_url=None,
        **kwargs,
    ):
        if kwargs:
            raise UserError(400, "Unexpected " + ", ".join(kwargs))
        if mode not in ("payment", "setup") or not success_url:
            raise UserError(400, "Bad request")
        if customer:
            Customer._api_retrieve(customer)
        super().__init__()
        self.mode, self.customer, self.client_reference_id = mode, customer, client_reference_id
        self.metadata, self.success_url, self.cancel_url = metadata or {}, success_url, cancel_url
        self.status, self.payment_status = "open", "unpaid"
        self.url = f"https://checkout.stripe.test/c/pay/{self.id}"
        self.currency, self.amount_total, self.payment_intent = currency, None, None
        self._data = payment_intent_data or {}
        if mode == "payment":
            price = line_items[0]["price_data"]
            self.currency = price["currency"]
            self.amount_total = int(price["unit_amount"]) * int(line_items[0]["quantity"])


async def create(request):
    data = await server.get_post_data(request) or {}
    key = request.headers.get("Idempotency-Key")
    if key not in MADE or key is None:
        made = Session._api_create(**data)
        if key is None:
            return server.json_response(made._export())
        MADE[key] = made
    return server.json_response(MADE[key]._export())


def method(customer=None):
    made = PaymentMethod._api_create(type="card", card=dict(CARD))
    if customer:
        PaymentMethod._api_attach(made.id, customer=customer)
    return made


async def complete(request):
    """The payer pays (or saves a card) on Stripe's page."""
    session = Session._api_retrieve(request.match_info["id"])
    if session.status != "open":
        raise UserError(400, "Bad request")
    if session.mode == "payment":
        intent = PaymentIntent._api_create(
            amount=session.amount_total,
            currency=session.currency,
            payment_method=method().id,
            metadata=session._data.get("metadata"),
            confirm=True,
        )
        session.payment_intent, session.payment_status = intent.id, "paid"
    else:
        method(session.customer)
        session.payment_status = "no_payment_required"
    session.status = "complete"
    schedule_webhook(Event("checkout.session.completed", session))
    return server.json_response(session._export())


class Lines(BalanceTransaction):
    """The balance, listed by date as Stripe does."""

    object = "balance_transaction"

    @classmethod
    def _api_list_all(cls, url, limit=None, starting_after=None, created=None, **kwargs):
        found = BalanceTransaction._api_list_all(url, limit=None, starting_after=starting_after, **kwargs)
        window = created or {}
        low, high = int(window.get("gte", 0)), int(window.get("lt", 10**12))
        found._list = [line for line in found._list if low <= line.created < high]
        return found


class Intents(PaymentIntent):
    """Payment intents, listed by customer as Stripe does."""

    object = "payment_intent"

    @classmethod
    def _api_list_all(cls, url, limit=None, starting_after=None, customer=None, **kwargs):
        found = PaymentIntent._api_list_all(url, limit=None, starting_after=starting_after, **kwargs)
        found._list = [i for i in found._list if customer in (None, i.customer)]
        return found


LISTS = {"/v1/balance_transactions": Lines, "/v1/payment_intents": Intents}


def main() -> None:
    app = web.Application(
        middlewares=[server.error_middleware, server.auth_middleware], client_max_size=1024 * 1024
    )
    app.router.add_route("POST", "/v1/checkout/sessions", create)
    app.router.add_route("GET", "/v1/checkout/sessions/{id}", server.api_retrieve(Session, ""))
    app.router.add_route("POST", "/_config/complete/{id}", complete)
    for path, kind in LISTS.items():
        app.router.add_route("GET", path, server.api_list_all(kind, path))
    for route in server.app.router.routes():
        if route.method in ("GET", "POST", "DELETE") and not (
            route.method == "GET" and route.resource.canonical in LISTS
        ):
            app.router.add_route(route.method, route.resource.canonical, route.handler)
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.bind(("127.0.0.1", 0))
    sock.listen(128)  # before the port is named: whoever reads it may connect at once
    print(sock.getsockname()[1], flush=True)
    resources.store.dump_to_disk = lambda: None
    web.run_app(app, sock=sock, print=None, access_log=None)


if __name__ == "__main__":
    sys.exit(main())
