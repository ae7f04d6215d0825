"""What the suite says of itself: offers, installation, speed, tables of methods."""
