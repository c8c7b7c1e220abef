/**
 * A saved pipeline is a definition that an owner keeps under a name and calls as `workflows/{owner}/{name}`.
 * Its contents are never changed: other contents are a new version, and a run finishes on the version that it
 * began with.
 */

import type { JsonObject } from "../json/json.ts";
import { pathSegments } from "../models/endpoint.ts";
import type { CompiledGraph } from "./parsed-graph.ts";

/** Whose it is and what it is called. */
export interface PipelineName {
  ownerId: string;
  name: string;
}

/** What is said of a saved pipeline beside what it does. None of it is part of a version. */
export interface PipelineMetadata {
  title: string;
  /** Others may call it and look at it. */
  isPublic: boolean;
  description?: string;
  thumbnailUrl?: string;
  tags: string[];
}

/** As lists show it. */
export interface PipelineSummary extends PipelineName, PipelineMetadata {
  /** 1, 2, …, also across a removal. */
  version: number;
  /** The endpoints that its nodes call. */
  calls: string[];
  createdAtMs: number;
  updatedAtMs: number;
}

export interface SavedPipeline extends PipelineSummary {
  /** The definition as it was given. */
  contents: JsonObject;
  compiled: CompiledGraph;
}

const NAMESPACE = "workflows";

export const savedEndpoint = ({ ownerId, name }: PipelineName): string => `${NAMESPACE}/${ownerId}/${name}`;

/** The name in `workflows/{owner}/{name}`; `undefined` for every other endpoint. */
export function savedName(endpoint: string): PipelineName | undefined {
  const [namespace, ownerId = "", name = "", ...rest] = pathSegments(endpoint);
  return namespace === NAMESPACE && name !== "" && rest.length === 0 ? { ownerId, name } : undefined;
}
