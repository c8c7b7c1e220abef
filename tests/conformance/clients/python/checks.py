"""Checks of a Python program, each printed as a line of JSON."""

import json


def check(name):
    """Runs the decorated function at once as a check."""

    def run(work):
        line = {"name": name, "passed": True}
        try:
            work()
        except BaseException as error:  # a check reports every failure
            line = {"name": name, "passed": False, "reason": f"{type(error).__name__}: {error}"}
        print(json.dumps(line), flush=True)

    return run


def same(actual, expected):
    assert actual == expected, f"it is {actual!r} instead of {expected!r}"


def fails(kind, work, status=None):
    """Asserts that the work raises an error of a kind, with that status if given. Returns the error."""
    try:
        work()
    except kind as error:
        response = getattr(error, "response", None)
        found = getattr(error, "status_code", None) or getattr(response, "status_code", None)
        assert status is None or found == status, f"its status is {found}: {error}"
        return error
    raise AssertionError("it did not fail")
