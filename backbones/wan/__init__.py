"""Wan 2.1/2.2 as a plain torch backbone, with original key names: DiT, VAE, text, sampler, loading."""
