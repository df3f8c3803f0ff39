"""What a larger demo has besides: organisations without a proven domain, of every kind and funding source."""

from __future__ import annotations

from typing import Any

from app.cli.demo_data import Org


def _org(
    slug: str, name: str, funding: str | None, host: bool, state: str, pan: str, trade: str, *people: str
) -> Org:
    """An organisation of three people; *people* are its owner, maintainer and manager."""
    roles = (("owner", "OWNER"), ("maintainer", "MAINTAINER"), ("manager", "MANAGER"))
    return Org(
        slug,
        name,
        funding,
        host,
        funding is not None,
        state,
        pan,
        trade,
        "SMALL_1_50",
        f"{trade} from {name.split()[0]}.",
        tuple((local, who, role) for (local, role), who in zip(roles, people, strict=True)),
    )


MORE = (
    _org("konkan", "Konkan Foods", "INVOICE", False, "27", "AABCK1201A", "Food", "Anita Sawant", "Sagar Parab", "Leena Rane"),
    _org("malabar", "Malabar Spices", "PERSONAL", False, "32", "AABCM4410F", "Trade", "Thomas Kurian", "Divya Nambiar", "Ravi Pillai"),
    _org("deccan", "Deccan Retail", "WALLET", False, "36", "AABCD7731H", "Retail", "Sana Mirza", "Kiran Reddy", "Pooja Rao"),
    _org("aravalli", "Aravalli Energy", "LICENSE", False, "08", "AABCA9902E", "Energy", "Dev Rathore", "Nisha Chauhan", "Amit Meena"),
    _org("sutra", "Sutra Coaching", None, True, "27", "AABCS3318C", "Coaching", "Gayatri Joshi", "Nikhil Bhave", "Tara Kale"),
    _org("himgiri", "Himgiri Institute", "PERSONAL", True, "05", "AABCH6120D", "Education", "Mohan Negi", "Kavya Rawat", "Suresh Bisht"),
)  # fmt: skip


def seed(run: Any) -> None:
    """Make what is missing; *run* is the seed (app/cli/demo.py)."""
    for org in MORE:
        run.organization(org, proven=False)
