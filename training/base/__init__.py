"""Models from nothing, as small as the demo needs: VAE, text encoder, DiT."""
