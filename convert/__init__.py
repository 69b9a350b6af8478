"""Published weights as one safetensors file in original names, for both hosts: `refvid convert`. Nothing here
runs inside ComfyUI."""
