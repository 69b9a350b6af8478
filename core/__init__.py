"""Rules that hold on every host: layout, masks, references, recipes, positions, guidance. Torch alone; no
host, no files."""
