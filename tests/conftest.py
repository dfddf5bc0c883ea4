"""Shared by all tests."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Of the processes that tests start: as under make, `tests` is not on their path.
os.environ.setdefault("PYTHONSAFEPATH", "1")

import torch

torch.set_num_threads(1)  # tiny tensors: threads only get in each other's way
