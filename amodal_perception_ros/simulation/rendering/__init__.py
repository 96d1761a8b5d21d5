"""Draws scenes, by OpenGL or by ray casting: pictures, and the exact passes behind the truth."""
