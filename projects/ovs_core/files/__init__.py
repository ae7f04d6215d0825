"""Files: writing them whole, reading pictures, the cache folder."""
