"""Trainings that are compared with each other: same data, schedule, seeds, start and evaluator."""
