"""Peers without progress bars, and without compiling a kernel for each shape."""

import os

os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
