"""Words: vocabularies, class lists, templates, and the numbering of a data set's classes."""
