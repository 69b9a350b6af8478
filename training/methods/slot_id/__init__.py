"""Slot-ID (arXiv 2601.01352): identity slots that are read from a reference video."""
