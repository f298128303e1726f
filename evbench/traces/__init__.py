"""Traces of torch.profiler: recorded, proven complete, set side by side, and shown."""
