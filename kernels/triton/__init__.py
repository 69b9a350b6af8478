"""The Triton kernels. Importing this package needs Triton; `kernels.segment_attention` asks first whether it
can run."""
