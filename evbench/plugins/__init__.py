"""Files of somebody else's with choices of their own: found, asked what they hold, and used in workers."""
