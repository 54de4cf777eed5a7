"""What the library costs, and the table of its methods."""
