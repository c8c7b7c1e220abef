/**
 * The table of pipelines that are written in TypeScript. A version stays here for as long as runs of it may
 * be alive; of several versions of one id, the newest is what callers get.
 */
import type { AnyPipeline } from "./define-pipeline.ts";
import { filmWithSound } from "./video-with-audio.ts";
import { pictureToFilm } from "./image-to-video.ts";
import { stubPipeline } from "./stub-pipeline.ts";

export const PIPELINES: readonly AnyPipeline[] = [pictureToFilm, filmWithSound, stubPipeline];

/** What a plan `{code}` names: `id@version`. */
export const codeOf = ({ id, version }: Pick<AnyPipeline, "id" | "version">): string => `${id}@${version}`;
