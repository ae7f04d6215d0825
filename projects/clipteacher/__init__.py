"""CLIPTeacher: frozen CLIP teaches any per-pixel segmenter to name classes it never saw."""
