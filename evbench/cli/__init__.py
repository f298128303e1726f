"""The command line: one file a command. Nothing but `evbench.cli` prints or exits."""
