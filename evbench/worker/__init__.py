"""One process for each side: `client` is the parent's end, `process` and `handlers` the child's, `messages` what they exchange."""
