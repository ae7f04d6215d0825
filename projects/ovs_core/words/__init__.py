"""Words: vocabularies, class lists, templates, and the numbering of a dataset's classes."""
