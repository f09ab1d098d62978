"""The people of the demonstration, who exist in the embedded database only: the README has them."""

# The two riders of the original, with Stripe's test cards: one that pays, one that is declined; and
# one whose bank asks (3-D Secure).
RIDERS = {
    "user@example.com": "tok_visa",
    "user-bad-source@example.com": "tok_chargeCustomerFail",
    "user-3ds@example.com": "tok_threeDSecure2Required",
}
ADMIN_EMAIL = "admin@example.com"
ADMIN_PASSWORD = "rocket"  # noqa: S105 (refused as a login anywhere else)
