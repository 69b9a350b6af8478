"""Saber (arXiv 2512.06905): masked frames of the very clip as references; with replaced frames (STIV, arXiv
2412.07730)."""
