#!/usr/bin/env python
"""Train or evaluate any method of the suite: `ovsuite train`, for launchers that need a file.

Examples:
  python train_net.py --config-file projects/cliptrase/configs/tiny.yaml --eval-only
  python train_net.py --config-file projects/hclip/configs/vitl14.yaml --num-gpus 4
  torchrun --nproc-per-node 4 train_net.py --config-file ...
"""

import sys

from ovs_core.commands import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
