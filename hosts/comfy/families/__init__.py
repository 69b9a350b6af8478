"""Families of ComfyUI's video models: what the host knows of each. One file a family, each with the same
functions."""
