"""What the host knows of each family of ComfyUI's video models, one file a family, each with the same functions."""
