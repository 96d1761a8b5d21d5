"""The one error that a user can mend: wrong usage or wrong input."""


class InputError(ValueError):
    """Wrong usage or input. The message is one line that says what is wrong, where, and what to do.

    Programs print it and exit with code 2; every other exception is a defect of the package (exit code 1).
    """
