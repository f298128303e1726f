"""evbench: is an optimized video-language model really faster, and does it still say the same?"""

__version__ = "0.1.0"
