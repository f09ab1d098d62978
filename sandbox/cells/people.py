"""`python -m sandbox.cells.people`: a rider in the cell that the environment names, and an API key,
which is printed.
"""

import sys

import django

EMAIL = "user@example.com"


def main() -> None:
    django.setup()
    from rides.apikeys.keys import issue_key  # only now: they import models
    from rides.management.commands.seed import seed_rider
    from rides.models import User

    seed_rider(EMAIL, "tok_visa")
    _, key = issue_key(User.objects.get(email=EMAIL), "the demo of cells")
    sys.stdout.write(f"{key}\n")


if __name__ == "__main__":
    main()
