"""Training: one engine, masks of references, base models from nothing, and a folder a method."""
