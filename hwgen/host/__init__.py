"""The host's side of a board: tensors to bytes, frames on a serial line, and DMA. No hardware
description is imported."""
