"""The gateway: moves scans and results between people, the store and the queue, and predicts nothing itself."""

__version__ = "0.1.0"
