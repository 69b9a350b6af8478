"""Figures of any model's clips: one against its reference, or a folder. Knows no host and no demo."""
