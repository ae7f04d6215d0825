#!/usr/bin/env python
"""Train or evaluate any method of the suite.

Examples:
  python train_net.py --config-file projects/cliptrase/configs/tiny.yaml --eval-only
  python train_net.py --config-file projects/hclip/configs/vitl14.yaml --num-gpus 4
  python train_net.py --config-file ... --resume
  torchrun --nproc-per-node 4 train_net.py --config-file ...
KEY VALUE pairs at the end override the config, for example MODEL.DEVICE cpu.
"""

from __future__ import annotations

import sys

from ovs_core.commands.train import main
from ovs_core.engine.launching import argument_parser, run_distributed
from ovs_core.errors import UserError

if __name__ == "__main__":
    try:
        run_distributed(main, argument_parser(__doc__).parse_args())
    except UserError as error:
        sys.exit(f"error: {error}")
