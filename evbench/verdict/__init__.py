"""A result -> what may be claimed of it. Pure."""
