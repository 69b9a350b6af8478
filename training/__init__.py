"""Training on plain video with masked frames of the same clip as references (Saber, arXiv 2512.06905)."""
