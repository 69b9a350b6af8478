"""Saber (arXiv 2512.06905) on clips of people: masked frames of the very clip as references, learned by a
LoRA."""
