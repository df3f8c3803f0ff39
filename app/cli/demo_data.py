"""Who and what the demo consists of (docs: README; design.md, "Demo"). No logic."""

from __future__ import annotations

from typing import NamedTuple

PASSWORD = "Demo-Pass-2026!"  # noqa: S105 - public, and refused in production


class Org(NamedTuple):
    """One demo organisation; *people* are (local part, name, role)."""

    slug: str
    name: str
    funding: str | None
    host: bool
    sponsor: bool
    state: str
    pan: str
    industry: str
    size: str
    description: str
    people: tuple[tuple[str, str, str], ...]

    @property
    def domain(self) -> str:
        return f"{self.slug}.test"


def _team(*names: str, learner: str = "", expert: str = "") -> tuple[tuple[str, str, str], ...]:
    roles = (
        ("owner", "OWNER"),
        ("maintainer", "MAINTAINER"),
        ("billing", "BILLING_ADMIN"),
        ("manager", "MANAGER"),
        ("support", "SUPPORT"),
    )
    out = tuple((local, name, role) for (local, role), name in zip(roles, names, strict=True))
    return (
        out
        + ((("learner", learner, "LEARNER"),) if learner else ())
        + ((("expert", expert, "EXPERT"),) if expert else ())
    )


ORGANIZATIONS = (
    Org(
        "acme",
        "Acme Manufacturing",
        "WALLET",
        False,
        True,
        "29",
        "AABCA4821K",
        "Manufacturing",
        "LARGE_201_1000",
        "Machine tools from Bengaluru. Consultations for everybody who leads people.",
        _team("Asha Menon", "Rohan Iyer", "Farah Khan", "Vikram Shetty", "Neha Joshi", learner="Arjun Nair"),
    ),
    Org(
        "northwind",
        "Northwind Logistics",
        "INVOICE",
        False,
        True,
        "27",
        "AABCN7310P",
        "Logistics",
        "ENTERPRISE_1000_PLUS",
        "Road and rail freight across western India.",
        _team(
            "Kavita Deshmukh",
            "Imran Sheikh",
            "Sunita Patil",
            "Rahul Jadhav",
            "Meera Kulkarni",
            learner="Nikhil Pawar",
        ),
    ),
    Org(
        "globex",
        "Globex Health",
        "LICENSE",
        False,
        True,
        "07",
        "AABCG2256F",
        "Health care",
        "MEDIUM_51_200",
        "Clinics in Delhi. A yearly licence for the medical staff.",
        _team(
            "Harpreet Singh",
            "Ananya Gupta",
            "Mohit Bansal",
            "Ritu Sharma",
            "Karan Malhotra",
            learner="Pooja Verma",
        ),
    ),
    Org(
        "initech",
        "Initech Software",
        "PERSONAL",
        False,
        True,
        "33",
        "AABCI9043M",
        "Software",
        "SMALL_1_50",
        "A small product house in Chennai. People pay themselves and are paid back.",
        _team(
            "Lakshmi Raman",
            "Senthil Kumar",
            "Divya Subramanian",
            "Prakash Rajan",
            "Anitha Selvam",
            learner="Karthik Balan",
        ),
    ),
    Org(
        "learnpro",
        "LearnPro Academy",
        None,
        True,
        False,
        "29",
        "AABCL6617R",
        "Education",
        "SMALL_1_50",
        "Coaches for strategy, finance and leadership.",
        _team(
            "Deepa Krishnan",
            "Suresh Babu",
            "Latha Rao",
            "Ganesh Hegde",
            "Shilpa Bhat",
            expert="Anand Kulkarni",
        ),
    ),
    Org(
        "iitm",
        "IITM Executive Programmes",
        "WALLET",
        True,
        True,
        "33",
        "AABCI3378T",
        "Education",
        "MEDIUM_51_200",
        "Executive education: sends its people to experts and offers its own.",
        _team(
            "Ravi Chandran",
            "Geetha Mohan",
            "Bala Murugan",
            "Uma Shankar",
            "Vijay Anand",
            learner="Swathi Ramesh",
            expert="Dr Padma Iyer",
        ),
    ),
)


class Expert(NamedTuple):
    """An expert with plans (title, category, price in paise, minutes). *host* None: the open marketplace."""

    email: str
    name: str
    host: str | None
    headline: str
    domain: str
    days: tuple[int, ...]
    hours: tuple[int, int]
    plans: tuple[tuple[str, str, int, int], ...]


WEEK = (0, 1, 2, 3, 4)
EXPERTS = (
    Expert(
        "expert@learnpro.test",
        "Anand Kulkarni",
        "learnpro",
        "Strategy coach for growing companies",
        "Strategy",
        (*WEEK, 5),
        (9, 18),
        (
            ("Growth strategy review", "Strategy", 500_000, 60),
            ("Board deck critique", "Strategy", 350_000, 45),
        ),
    ),
    Expert(
        "expert@iitm.test",
        "Dr Padma Iyer",
        "iitm",
        "Operations and quality, thirty years on shop floors",
        "Operations",
        WEEK,
        (10, 17),
        (
            ("Lean operations clinic", "Operations", 420_000, 60),
            ("Supply chain risk audit", "Operations", 600_000, 90),
        ),
    ),
    Expert(
        "maya@consilium.test",
        "Maya Iyer",
        "learnpro",
        "First-time managers and difficult conversations",
        "Leadership",
        (*WEEK, 6),
        (8, 20),
        (("Coaching for new managers", "Leadership", 250_000, 45),),
    ),
    Expert(
        "asha.rao@experts.test",
        "Asha Rao",
        None,
        "Chartered accountant, GST and treasury",
        "Finance",
        WEEK,
        (9, 19),
        (("GST health check", "Finance", 300_000, 60), ("Cash flow planning", "Finance", 280_000, 60)),
    ),
    Expert(
        "dev.patel@experts.test",
        "Dev Patel",
        None,
        "Cloud architecture without the bill shock",
        "Technology",
        (*WEEK, 5),
        (11, 20),
        (("Architecture second opinion", "Technology", 450_000, 60),),
    ),
)
MAYA = (("acme", "OWNER"), ("northwind", "LEARNER"), ("learnpro", "EXPERT"))
TOP_UP = 20_000_000  # paise: ₹2,00,000
CREDITS = 50_000  # of the program, each member, each month
BOOKINGS = (
    ("learner@acme.test", "expert@learnpro.test", 3),
    ("learner@acme.test", "asha.rao@experts.test", 5),
    ("maya@consilium.test", "expert@iitm.test", 4),
)  # who, whom, how many days ahead
