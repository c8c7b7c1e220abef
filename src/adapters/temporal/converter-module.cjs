/**
 * The module that Temporal's workers and clients load their payload converter from, by its path and with
 * `require`, which loads no TypeScript in all processes. `data-converter.ts` sets the converter.
 */
exports.payloadConverter = undefined;
