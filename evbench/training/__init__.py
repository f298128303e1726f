"""How the small checkpoints that evbench carries were made: `python -m evbench.training --help`.

Neither harness nor pipeline: it uses both the scenes and the networks of the pipelines, and nothing of evbench uses it.
"""
