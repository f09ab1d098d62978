"""API keys: what a rider's own program authenticates with."""
