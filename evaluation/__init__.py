"""Figures of any model's clips: one clip against its reference, or a folder of them. Knows no host and no demo world."""
