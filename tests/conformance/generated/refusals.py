"""The checks that data is accepted when it fits the document and else refused.

They take the place of the generator's own, and permit what a schema cannot say.
"""

import re

import schemathesis
from schemathesis.core.failures import AcceptedNegativeData
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

# Refusals by what the server stores, by code.
BY_STATE = {
    "precondition_failed",  # an ETag of another state
    "plan_in_use",
    "package_invalid",  # bytes that are no archive
}

# Refusals by rules that relate values or need a clock, by the words of the fault.
BY_RULE = re.compile(
    r"Input should be a next_cursor of this list"
    r"|Input should (be earlier than end|not be before start)"
    r"|Input should be in the future"
    r"|Input should be a time zone like Europe/Berlin"
    # The value of a condition whose key is `level`.
    r"|Input should be one of DEBUG, INFO, WARN, ERROR"
    # The name of a flag, by its kind.
    r"|is no endpoint|There is no behaviour"
    # At any depth of values that have no schema.
    r"|text must not contain NUL characters"
    # These depend on the stored state.
    r"|The response would have more than|ask for each currency by itself|This file is named by its content"
)


def beyond_the_schema(response):
    body = response.json()
    error = body.get("error") or {}
    faults = error.get("faults") or body.get("detail")
    by_rule = isinstance(faults, list) and len(faults) > 0 and all(map(is_a_rule, faults))
    return by_rule or error.get("code") in BY_STATE


def is_a_rule(fault):
    # The definition of a workflow is a program, which is judged as a whole.
    in_definition = fault["loc"][:2] == ["body", "contents"]
    # A model takes all fields of fal's model, and tells the values that it cannot serve.
    unsupported = fault["type"] == "feature_not_supported"
    return in_definition or unsupported or BY_RULE.search(fault["msg"]) is not None


@schemathesis.check
def valid_data_acceptance(ctx, response, case):
    if response.status_code in (400, 412, 422) and beyond_the_schema(response):
        return None
    return positive_data_acceptance(ctx, response, case)


@schemathesis.check
def invalid_data_rejection(ctx, response, case):
    try:
        return negative_data_rejection(ctx, response, case)
    except AcceptedNegativeData as failure:
        # Inputs are converted as fal's models convert them: "7" is read as 7, and 0 as false.
        if case.path.startswith("/v1/") or "incorrect type" not in failure.message.lower():
            raise
        return None


@schemathesis.serializer("application/gzip")
def gzip_body(ctx, value):
    return value if isinstance(value, bytes) else str(value).encode()
