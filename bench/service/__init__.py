"""The service under measurement: its own settings and addresses, and the plain view beside them."""
