"""Mistakes in a result of evbench, and in a table of stage times from elsewhere."""
