"""Benchmarks of single parts, each a script of its own."""
