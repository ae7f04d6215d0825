"""A person's own datasets, described in a YAML file.

Each top-level key is the name of a dataset::

    street_val:
      images: /data/street/val/images
      labels: /data/street/val/labels        # or annotations: (COCO or panoptic JSON)
      names: /data/street/names.txt          # one per line; or a list, or a shipped class list
      ignore: 255
      unseen: [scooter, tram]

Relative paths start at the YAML file's folder. A name can then stand in DATASETS.TRAIN and TEST.
"""

from .dataset import OwnDataset
from .rows import write_rows
from .stanza import KEYS, read_yaml_datasets, register_yaml_datasets

__all__ = ["KEYS", "OwnDataset", "read_yaml_datasets", "register_yaml_datasets", "write_rows"]
