"""A conversation about a booking of the demo, so that chats have something to show."""

from __future__ import annotations

from sqlalchemy import select

from app.cli.demo_books import Books
from app.cli.demo_data import BOOKINGS
from app.models import Appointment
from app.security.context import acting
from app.services import chats
from app.services.scopes import EVERYWHERE

LINES = (
    (0, "Thank you for taking this. Shall I send last year's numbers before we meet?"),
    (1, "Please do: revenue by product and the three largest customers are enough."),
    (0, "On their way by tomorrow evening."),
)


def seed(books: Books) -> None:
    """Write the conversation once."""
    session = books.session
    pair = [books.person(email).id for email in BOOKINGS[1][:2]]
    with acting(session, user_id=pair[0], org_id=None, membership_id=None, role=None):
        booking = session.scalars(
            select(Appointment)
            .where(Appointment.learner_user_id == pair[0], Appointment.expert_user_id == pair[1])
            .order_by(Appointment.id)
            .limit(1),
            execution_options=EVERYWHERE,
        ).first()
        if booking is None:
            return
        reference = booking.public_id
        if chats.messages(session, chats.for_appointment(session, reference), limit=1):
            return
        session.commit()
    for side, text in LINES:
        with acting(session, user_id=pair[side], org_id=None, membership_id=None, role=None):
            chats.post(session, chats.for_appointment(session, reference), text)
            session.commit()
    books.done("two people talk about a booking")
