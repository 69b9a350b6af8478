"""VideoMaker (arXiv 2412.19645): the video model reads a clean picture behind the video, as its own
encoder."""
