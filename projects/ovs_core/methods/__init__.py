"""Finding the methods that stand beside the core, and their configs."""
