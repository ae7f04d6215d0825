"""A person's pictures and words to labelled pixels: one, a folder, a video, side by side."""
