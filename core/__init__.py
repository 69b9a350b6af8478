"""Rules that hold on every host: layout, masks, references, recipes, positions, guidance. Torch, and kornia
or OpenCV where a score needs them; no host, no files."""
