"""What a user can mend: it is told in one line, without a traceback."""


class UserError(ValueError):
    """A user's mistake; the message names the value, its limit and the knob or file to change.

    Everything else that is raised is a bug and keeps its traceback.
    """
