"""From options to the samples and the work that both sides are given, checked before anything is measured."""
