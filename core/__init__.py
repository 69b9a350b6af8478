"""What is true on every host: layout, masks, references, recipes, positions, guidance. Torch only; no host, no files."""
