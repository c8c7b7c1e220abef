/**
 * A saved pipeline is a definition that an owner saved under a name and calls as `workflows/{owner}/{name}`.
 * Contents never change: other contents are a new version, and a run finishes on the version that it began
 * with.
 */

import type { JsonObject } from "../json/json.ts";
import { pathSegments } from "../models/endpoint.ts";
import type { CompiledGraph } from "./parsed-graph.ts";

/** The identity of a saved pipeline. */
export interface PipelineName {
  ownerId: string;
  name: string;
}

/** The metadata of a saved pipeline, which is not part of its versions. */
export interface PipelineMetadata {
  title: string;
  /** Other owners may call it and read it. */
  isPublic: boolean;
  description?: string;
  thumbnailUrl?: string;
  tags: string[];
}

/** A saved pipeline in a list, without its contents. */
export interface PipelineSummary extends PipelineName, PipelineMetadata {
  /** 1, 2, …; a removal does not reset it. */
  version: number;
  /** The endpoints that its nodes call. */
  calls: string[];
  createdAtMs: number;
  updatedAtMs: number;
}

export interface SavedPipeline extends PipelineSummary {
  /** The definition as its author sent it. */
  contents: JsonObject;
  compiled: CompiledGraph;
}

const NAMESPACE = "workflows";

export function savedEndpoint({ ownerId, name }: PipelineName): string {
  return `${NAMESPACE}/${ownerId}/${name}`;
}

/** Parses `workflows/{owner}/{name}`; `undefined` for every other endpoint. */
export function savedName(endpoint: string): PipelineName | undefined {
  const [namespace, ownerId = "", name = "", ...rest] = pathSegments(endpoint);
  return namespace === NAMESPACE && name !== "" && rest.length === 0 ? { ownerId, name } : undefined;
}
