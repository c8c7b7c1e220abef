import { defineSearchAttributeKey, SearchAttributeType } from "@temporalio/common";

/** What an operator can filter jobs by in the Temporal UI. `temporal/README.md` says how they are created. */
export const ENDPOINT_ATTRIBUTE = defineSearchAttributeKey("TemperaEndpoint", SearchAttributeType.KEYWORD);
export const VERSION_ATTRIBUTE = defineSearchAttributeKey("TemperaVersion", SearchAttributeType.KEYWORD);
export const OWNER_ATTRIBUTE = defineSearchAttributeKey("TemperaOwner", SearchAttributeType.KEYWORD);

export const SEARCH_ATTRIBUTES = [ENDPOINT_ATTRIBUTE.name, VERSION_ATTRIBUTE.name, OWNER_ATTRIBUTE.name];
