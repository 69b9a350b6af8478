"""A node for tests only: pictures that no core node makes. Copied into the test server's custom_nodes."""

import torch


class RefVidTestPicture:
    """A 64x64 picture with one value that is not a number."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "make"
    CATEGORY = "refvid/tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    def make(self):
        picture = torch.full((1, 64, 64, 3), 0.5)
        picture[0, 3, 5, 1] = torch.nan
        return (picture,)


NODE_CLASS_MAPPINGS = {"RefVidTestPicture": RefVidTestPicture}
