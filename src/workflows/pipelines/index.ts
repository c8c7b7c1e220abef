/**
 * The table of pipelines that are written in TypeScript. A version stays here as long as runs of it may be
 * alive. Callers get the newest version of an id.
 */
import type { AnyPipeline } from "./define-pipeline.ts";
import { stubPipeline } from "./stub-pipeline.ts";
import { textToVideo } from "./text-to-video.ts";
import { textToVideoWithAudio } from "./text-to-video-with-audio.ts";

export const PIPELINES: readonly AnyPipeline[] = [textToVideo, textToVideoWithAudio, stubPipeline];

/** The name of a code plan: `id@version`. */
export function codeOf({ id, version }: Pick<AnyPipeline, "id" | "version">): string {
  return `${id}@${version}`;
}
