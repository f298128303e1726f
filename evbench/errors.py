"""The one error that is a user's to mend."""


class UserError(Exception):
    """A wrong input, option or environment. The message is one line: what is wrong, where, and what to do.

    The command line prints it without a traceback and exits with code 2.
    """
