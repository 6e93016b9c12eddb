"""The one kind of error that a person can mend: its text is shown without a traceback."""


class UserError(Exception):
    """What happened, where, and what to do, in a sentence."""
