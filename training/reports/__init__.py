"""Reports of a training run: log, progress, losses of clips, reference gain, and samples."""
