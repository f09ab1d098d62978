"""The riders of a chaos run, many of them, so that no rider has more payments than anybody has."""

from django.core.management import call_command

from rides import payments
from rides.models import User


def make_riders(count: int, bad_cards: int, asked: int = 0) -> list[str]:
    """Create the tables and the riders: first those whose card pays, then those `asked` by their
    bank, then those whose card is declined.
    """
    call_command("migrate", verbosity=0, interactive=False)
    sources = ["tok_visa"] * (count - asked - bad_cards)
    sources += ["tok_threeDSecure2Required"] * asked + ["tok_chargeCustomerFail"] * bad_cards
    return [make_rider(f"rider-{n}@example.com", source) for n, source in enumerate(sources)]


def make_rider(email: str, source: str) -> str:
    customer = payments.create_customer(email=email, source=source)
    return User.objects.create_user(email, stripe_customer_id=customer).email
