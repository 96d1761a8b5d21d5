"""Everything that can move: parked and driving vehicles, people, and how they hide each other."""
