"""What this project adds to `ovsuite`; a module is named as its command."""
