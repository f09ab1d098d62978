"""The processes that finish what was abandoned, and tidy up."""
