"""What a person decides about a request that the system cannot finish by itself."""
