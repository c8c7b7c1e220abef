/**
 * Draws the clips that the audio model is judged on: `position` of training/tempera_training/audio/clips.py
 * moves the shape the same way.
 */
import { drawScene } from "./scene-drawing.ts";
import type { SceneColor, SceneShape } from "./scene-judge.ts";

/** A shape that bounces on the floor, runs between the walls, flashes, or does nothing. */
export interface AudibleClip {
  action: "bounce" | "walls" | "blink" | "quiet";
  shape: SceneShape;
  color: SceneColor;
  background: SceneColor;
  seconds: number;
  fps: number;
  width: number;
  height: number;
  /** As a share of the shorter side. */
  radius: number;
  /** Position on the axis that it does not move along, as a share of the space it has. */
  along: number;
  /** Times at which it hits something or appears, in seconds. */
  events: number[];
  /**
   * Bounce and walls: seconds from the beginning of the flight to the first event; blink: time until which it
   * is visible at first.
   */
  before: number;
  /**
   * Bounce: a flight of this many seconds would reach the ceiling; blink: seconds for which it is visible
   * after each event.
   */
  longest: number;
}

/** Draws every frame, k at k / fps seconds; RGB, 8 bits, row by row. */
export function drawAudibleClip(clip: AudibleClip): Uint8Array[] {
  return Array.from(
    { length: Math.round(clip.seconds * clip.fps) },
    (_, k) => drawScene({ ...clip, ...positionAt(clip, k / clip.fps) }).data,
  );
}

/** Computes the position of the shape at a time in seconds. */
function positionAt(
  { action, width, height, radius: share, along, events, before, longest }: AudibleClip,
  seconds: number,
) {
  const radius = share * Math.min(width, height);
  const [left, right, top, floor] = [radius, width - radius, radius, height - radius];
  const resting = {
    x: left + along * (right - left),
    y: top + along * (floor - top),
    radius,
    isVisible: true,
  };
  /** The flight at that time: the event that it ends with, its length, and the share of it that is over. */
  const flight = events
    .map((end, i) => ({ i, end, start: i === 0 ? end - before : (events[i - 1] ?? 0) }))
    .filter(({ start, end }) => seconds >= start && seconds < end)
    .map(({ i, start, end }) => ({ i, lasts: end - start, over: (seconds - start) / (end - start) }))[0];
  if (action === "bounce") {
    const rise = flight
      ? Math.min(1, (flight.lasts / longest) ** 2) * 4 * flight.over * (1 - flight.over)
      : 0;
    return { ...resting, y: floor - (floor - top) * rise };
  }
  if (action === "walls") {
    const side = (i: number) => (i % 2 === 0 ? right : left);
    if (flight)
      return {
        ...resting,
        x: (left + right - side(flight.i)) * (1 - flight.over) + side(flight.i) * flight.over,
      };
    return { ...resting, x: events.length > 0 ? side(events.length - 1) : left };
  }
  if (action === "blink")
    return {
      ...resting,
      isVisible: seconds < before || events.some((event) => seconds >= event && seconds < event + longest),
    };
  return resting;
}
