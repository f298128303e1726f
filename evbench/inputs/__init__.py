"""From options to the samples and the work of both sides, checked before anything is measured."""
