"""Lays out a town: ground, lanes and walks, buildings, plants and street furniture."""
