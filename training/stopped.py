"""Stop of a training that cannot go on as it is. Without torch: the command line knows it before any work."""


class TrainingStopped(Exception):
    """Training stopped by itself: its state is kept, and the sentence says why."""
