"""Variants: names, and a choice for each part of the pipeline."""
