"""Training of the small CLIPs that the suite carries, from drawn pictures and their captions."""
