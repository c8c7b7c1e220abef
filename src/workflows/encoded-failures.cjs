/**
 * Failures whose message and stack are a payload, which the codec encrypts: a message may quote an input.
 * Temporal loads it by its path, inside the sandbox and outside, with `require`; hence its form.
 */
const { DefaultFailureConverter } = require("@temporalio/common");

exports.failureConverter = new DefaultFailureConverter({ encodeCommonAttributes: true });
