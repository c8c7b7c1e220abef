"""Reasons of errors, for a sentence."""


def reason_of(error: BaseException) -> str:
    """Returns the first line of an error's text, or the name of its type where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
