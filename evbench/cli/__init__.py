"""The command line: one file a command, registered in `main`. Nothing but `evbench.cli` prints or exits."""
