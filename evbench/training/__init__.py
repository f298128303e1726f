"""How the small checkpoints that evbench carries were trained: `python -m evbench.training --help`.

It uses the scenes and the networks of the pipelines, and nothing of evbench uses it.
"""
