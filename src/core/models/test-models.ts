/**
 * Tells whether an endpoint is one of the test models. They do what their input asks for, also crash their
 * engine and fill memory, so a platform serves them only when asked to (`registry.testModels`).
 *
 * @example isTestModel("tempera/stub-pipeline") // → true
 */
export const isTestModel = (endpoint: string): boolean => /^tempera\/stub(?![A-Za-z0-9_.])/.test(endpoint);

/** Words how a platform is asked to serve the test models. */
export const TEST_MODELS_REMEDY = "`npm start -- --with-test-models`, or TEMPERA_TEST_MODELS=true";
