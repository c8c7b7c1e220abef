/** The words that a schema of a model may have, by what their values are. */

const words = (text: string): string[] => text.split(" ");

/** Words whose value is one schema. */
export const WITH_SCHEMA = words(
  "additionalProperties unevaluatedProperties propertyNames items unevaluatedItems additionalItems " +
    "contains not if then else contentSchema",
);
/** Words whose value is a list of schemas. */
export const WITH_SCHEMAS = words("allOf anyOf oneOf prefixItems items");
/** Words whose value is a table of schemas. */
export const WITH_TABLE = words("properties patternProperties dependentSchemas $defs definitions");

const OTHERS = words(
  "$schema $id $anchor $ref $dynamicRef $dynamicAnchor $vocabulary $comment type enum const multipleOf " +
    "maximum exclusiveMaximum minimum exclusiveMinimum maxLength minLength pattern maxItems minItems " +
    "uniqueItems maxContains minContains maxProperties minProperties required dependentRequired " +
    "dependencies title description default deprecated readOnly writeOnly examples format contentEncoding " +
    "contentMediaType " +
    // OpenAPI's, and what fal's own documents have.
    "nullable discriminator example externalDocs xml components ui",
);

/** All words that something reads. */
export const SCHEMA_WORDS = [WITH_SCHEMA, WITH_SCHEMAS, WITH_TABLE, OTHERS].flat();

/** Tells whether a schema may have the word; words of one's own begin with `x-`. */
export const isSchemaWord = (word: string): boolean => word.startsWith("x-") || SCHEMA_WORDS.includes(word);
