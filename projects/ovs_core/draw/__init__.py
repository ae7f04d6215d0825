"""Drawing labelled pictures: colours, captions, legends, sheets."""
