"""The problems that whoever runs the set-up can solve."""


class SetupError(Exception):
    """A problem in one line that says what is wrong and what to do."""
