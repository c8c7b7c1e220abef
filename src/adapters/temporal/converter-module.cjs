/**
 * The module that Temporal's workers and clients load their payload converter from, by its path and with
 * `require`, which loads no TypeScript in all processes. `data-converter.ts` sets the converter.
 */
Object.defineProperty(exports, "payloadConverter", {
  configurable: true,
  enumerable: true,
  get() {
    throw new Error(
      `The payload converter of ${__filename} is not set, since data-converter.ts loaded another copy of ` +
        "this module; give Temporal the path that dataConverterOf returns.",
    );
  },
  set(converter) {
    Object.defineProperty(exports, "payloadConverter", { value: converter, enumerable: true });
  },
});
