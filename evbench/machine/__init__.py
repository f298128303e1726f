"""The machine: what it is, what it lacks, what else goes on there."""
