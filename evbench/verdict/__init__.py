"""A result -> what may be claimed of it. Pure: the same result is always judged the same."""
