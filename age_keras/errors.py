"""The error a user can do something about."""


class InputError(Exception):
    """Something given to age_keras cannot be used: a file, a key, a value.

    The message is one clear sentence that names the file or the key and says what to do. The command line prints it
    without a traceback and exits with code 2. Raise it for what the user gave; let our own bugs raise what they raise.
    """
