"""A session: which worker runs what, in which order, and what is written down of it."""
