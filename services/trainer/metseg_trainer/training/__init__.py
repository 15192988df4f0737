"""A network, its loss and its schedule, step by step, to a checkpoint."""
