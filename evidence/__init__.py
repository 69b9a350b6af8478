"""What is claimed of the methods, measured on the demo world: trials, ablations, their tables and sheets."""
