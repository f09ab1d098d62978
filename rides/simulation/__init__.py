"""Traffic: clients that book, fail and try again, and a count of what they were answered."""
