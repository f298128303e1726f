"""What this machine can do: facts that it is asked for, and what is said of them."""
