/** The search attributes of workflows, by which the Temporal UI and visibility queries find jobs. */
import { defineSearchAttributeKey, SearchAttributeType } from "@temporalio/common";
import { SEARCH_ATTRIBUTES as NAMES } from "../../core/requests/job.ts";

export const ENDPOINT_ATTRIBUTE = defineSearchAttributeKey(NAMES.endpoint, SearchAttributeType.KEYWORD);
export const VERSION_ATTRIBUTE = defineSearchAttributeKey(NAMES.version, SearchAttributeType.KEYWORD);
export const OWNER_ATTRIBUTE = defineSearchAttributeKey(NAMES.owner, SearchAttributeType.KEYWORD);

export const SEARCH_ATTRIBUTES = [ENDPOINT_ATTRIBUTE.name, VERSION_ATTRIBUTE.name, OWNER_ATTRIBUTE.name];
