"""A plain torch Wan 2.1/2.2 backbone with the original key names: DiT, VAE, text encoder, sampler, loading."""
