/** What a clip is, found out by reading its packets and not by what its head claims. Nothing is decoded. */
import { AV_PKT_FLAG_DISCARD } from "node-av/constants";
import { LIMITS } from "../../../../core/limits.ts";
import { inputFault } from "../runtime/input-error.ts";
import { openClip, picturePackets, unsupported } from "./open-clip.ts";
import type { PictureSize } from "../image/image-size.ts";

export interface ClipFacts {
  size: PictureSize;
  /** How long its picture lasts, as far as it was looked at. */
  seconds: number;
  /** It goes on after `secondsMax`. */
  isLonger: boolean;
  /** The file holds frames that are not shown: telephones cut a film so. */
  hidesFrames: boolean;
}

/** Rejects with a 422 when it is no video, has no frames, or is too short. */
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
  for await (const packet of picturePackets(clip, signal)) {
    if (++frames > LIMITS.clipFramesMax) {
      throw unsupported(
        field,
        `The video has more than the ${LIMITS.clipFramesMax.toLocaleString("en-US")} frames that are read; send a shorter one.`,
      );
    }
    if (packet.flags & AV_PKT_FLAG_DISCARD) {
      hidesFrames = true;
      continue;
    }
    const at = Number(packet.pts > -(2n ** 62n) ? packet.pts : packet.dts) * secondsPerTick;
    start = Math.min(start, at);
    end = Math.max(end, at + (packet.duration > 0n ? Number(packet.duration) * secondsPerTick : usual));
    // Frames are stored out of order by a few: half a second more, and all up to the limit were seen.
    if (at - start > secondsMax + 0.5) {
      isLonger = true;
      break;
    }
  }
  const seconds = Math.max(0, end - start);
  if (!(seconds >= LIMITS.clipSecondsMin)) {
    const says =
      frames === 0
        ? "The video has no frames; send one that has."
        : `The video lasts ${seconds.toFixed(3)} s; send one of ${LIMITS.clipSecondsMin} s or more.`;
    throw inputFault(field, "video_duration_too_short", says, {
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
