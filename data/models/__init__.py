"""Models that look at clips, from local weights: a file each, pictures in and numbers out."""
