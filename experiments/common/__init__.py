"""What experiments share: configuration, building, running, tables and pictures."""
