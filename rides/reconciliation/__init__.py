"""Whether Stripe's books and the rides agree, and what is done where they do not."""
