/** Measures a clip by its packets; its head, which may claim anything, is not trusted. Nothing is decoded. */
import { AV_PKT_FLAG_DISCARD } from "node-av/constants";
import { LIMITS } from "../../../../core/limits.ts";
import type { ImageSize } from "../image/image-size.ts";
import { inputFault } from "../runtime/input-error.ts";
import { openClip, tooManyFrames, videoPackets } from "./open-clip.ts";

export interface ClipFacts {
  size: ImageSize;
  /** Length of its video, as far as it was read. */
  seconds: number;
  /** The clip goes on after `secondsMax`. */
  isLonger: boolean;
  /** The file holds frames that are not shown: telephones cut videos that way. */
  hidesFrames: boolean;
}

/**
 * Rejects with a 422 when the file is not a video, has no frames, or is too short.
 *
 * @param field      the input's field that names the clip, for faults
 * @param secondsMax packets after this time are not read
 */
export async function measureClip(
  path: string,
  field: string,
  secondsMax: number,
  signal: AbortSignal,
): Promise<ClipFacts> {
  await using clip = await openClip(path, field);
  const { stream } = clip;
  const secondsPerTick = stream.timeBase.num / stream.timeBase.den;
  const usual = stream.avgFrameRate.num > 0 ? stream.avgFrameRate.den / stream.avgFrameRate.num : 0.04;
  let [start, end] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  let frames = 0;
  let isLonger = false;
  let hidesFrames = false;
  for await (const packet of videoPackets(clip, signal)) {
    if (++frames > LIMITS.clipFramesMax) throw tooManyFrames(field);
    if (packet.flags & AV_PKT_FLAG_DISCARD) {
      hidesFrames = true;
      continue;
    }
    const atSeconds = Number(packet.pts > -(2n ** 62n) ? packet.pts : packet.dts) * secondsPerTick;
    start = Math.min(start, atSeconds);
    end = Math.max(
      end,
      atSeconds + (packet.duration > 0n ? Number(packet.duration) * secondsPerTick : usual),
    );
    // Frames are stored slightly out of order: half a second later, all frames up to the limit were read.
    if (atSeconds - start > secondsMax + 0.5) {
      isLonger = true;
      break;
    }
  }
  const seconds = Math.max(0, end - start);
  if (!(seconds >= LIMITS.clipSecondsMin)) {
    const message =
      frames === 0
        ? "The video has no frames; send one that has some."
        : `The video lasts ${seconds.toFixed(3)} s; send one of ${LIMITS.clipSecondsMin} s or more.`;
    throw inputFault(field, "video_duration_too_short", message, {
      min_duration: LIMITS.clipSecondsMin,
      provided_duration: seconds,
    });
  }
  const { width, height } = stream.codecpar;
  return {
    size: { width, height },
    seconds: Math.min(seconds, isLonger ? secondsMax : seconds),
    isLonger: isLonger || seconds > secondsMax,
    hidesFrames,
  };
}
