"""Clips to learn from: what a method may ask of a source of them."""
