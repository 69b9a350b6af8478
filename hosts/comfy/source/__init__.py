"""A source video beside the video that is made of it (SAMA): the rider, its semantic tokens and modules, and
the node half."""
