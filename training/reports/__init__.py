"""Reports of a training run: log, progress, losses of clips, held-out loss with reference gain, and samples."""
