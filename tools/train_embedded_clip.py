#!/usr/bin/env python
"""Train the tiny CLIP of the embedded world; see ``embedded_clip/train.py``."""

from embedded_clip.train import main

if __name__ == "__main__":
    main()
