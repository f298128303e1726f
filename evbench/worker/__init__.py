"""One process for each side: it builds its pipeline once, stays alive, and runs what it is asked."""
