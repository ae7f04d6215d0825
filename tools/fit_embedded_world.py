#!/usr/bin/env python
"""Fit what tells pictures of the embedded world from others; see ``embedded_clip/world.py``."""

from embedded_clip.world import main

if __name__ == "__main__":
    main()
