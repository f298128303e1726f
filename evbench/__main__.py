"""`python -m evbench`: the command, for launchers that start modules."""

from evbench.cli.start import main

main()
