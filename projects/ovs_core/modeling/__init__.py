"""Parts of segmentation networks that two or more methods share."""
