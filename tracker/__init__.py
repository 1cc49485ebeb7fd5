"""tracker: the experiment tracker with no server."""

__version__ = "0.1.0"
