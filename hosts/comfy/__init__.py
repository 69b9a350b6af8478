"""refvid inside ComfyUI: everything that knows ModelPatcher, conditioning or a sampler."""
