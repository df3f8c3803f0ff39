"""What else happens when an advance arrives or goes back: vouchers (chapter 4, 4.2 "Advances").

Only top-ups whose ``gst_mode`` is ADVANCE come here; a VOUCHER is taxed when it is spent. The functions run in the
transaction that credits, or that takes the credits back, acting for the organisation. Whoever writes the documents adds
its function here.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy.orm import Session

from app.models import GstMode, TopUpRefund, WalletTopUp

ARRIVED: list[Callable[[Session, WalletTopUp], None]] = []  # a receipt voucher
RETURNED: list[Callable[[Session, WalletTopUp, TopUpRefund], None]] = []  # a refund voucher


def arrived(session: Session, row: WalletTopUp) -> None:
    """A top-up was credited."""
    if row.gst_mode == GstMode.ADVANCE:
        for write in ARRIVED:
            write(session, row)


def returned(session: Session, row: WalletTopUp, refund: TopUpRefund) -> None:
    """A refund of a top-up succeeded."""
    if row.gst_mode == GstMode.ADVANCE:
        for write in RETURNED:
            write(session, row, refund)
