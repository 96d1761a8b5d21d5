"""Meshes of everything in a town: vehicles, people, buildings, plants and furniture."""
