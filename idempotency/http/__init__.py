"""The door: a request comes in, and an answer or a refusal goes out."""
