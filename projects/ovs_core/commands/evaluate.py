"""Evaluate a method on the test sets of its config, as `ovsuite train --eval-only` does.

--resume takes the newest checkpoint of OUTPUT_DIR. --engine ray has pictures labelled and counted
by workers, with the same figures. KEY VALUE pairs at the end override the config.
"""

from __future__ import annotations

from argparse import Namespace

from . import train

SUMMARY = "evaluate a method on labelled data"
EXAMPLES = (
    "ovsuite evaluate --config-file cliptrase/tiny",
    "ovsuite evaluate --config-file cliptrase/tiny DATASETS.TEST \"('embedded_sem_seg_train',)\" "
    "OUTPUT_DIR output/train_set",
)
add_arguments = train.add_arguments


def run(args: Namespace) -> int:
    """Evaluate; the table goes to the screen and below ``OUTPUT_DIR``."""
    args.eval_only = True
    return train.run(args)
