"""Students: any network of dense features, by name or of one's own."""
