"""The errors that are shown without a traceback."""


class InputError(ValueError):
    """Wrong usage or input. The message is one line that says what is wrong, where, and what to do.

    Programs print it and exit with code 2; every other exception is a defect of the package (exit code 1).
    """


class RunError(RuntimeError):
    """A program that a run had started failed; the message holds its exit code and the end of its log."""
