"""DiT and text encoder, trained whole: by masked frames of the very clip as references (Saber, arXiv
2512.06905), and with replaced frames (STIV, arXiv 2412.07730)."""
