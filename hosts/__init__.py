"""Hosts: each translates the words of one place to run in (ComfyUI, plain torch) to core's words and back.
They never meet."""
