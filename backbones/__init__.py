"""Video backbones in plain torch, for use without ComfyUI: what a host asks of one (`base`), and each in a
folder of its own."""
