"""Street scenes that the project makes itself: what happens, how it looks, what an event camera sees, and the words for it."""
