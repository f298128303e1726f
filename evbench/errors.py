"""The one error that is a user's to mend."""


class UserError(Exception):
    """A wrong input, option or environment. The message is one line: what is wrong, where, and what to do.

    The command line prints it without a traceback and exits with code 2.
    """


def first_line(error: BaseException) -> str:
    """What a library's error says, cut to one line for a UserError."""
    return next((line.strip()[:160] for line in str(error).splitlines() if line.strip()), "no reason given")
