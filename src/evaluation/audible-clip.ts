/**
 * Draws the clips that the sound model is judged on: `place` of training/tempera_training/sound/clips.py says
 * where the shape is when.
 */
import { drawScene } from "./scene-drawing.ts";
import type { SceneColor, SceneShape } from "./scene-judge.ts";

/** A shape that bounces on the floor, runs between the walls, flashes, or does nothing. */
export interface SoundingClip {
  action: "bounce" | "walls" | "blink" | "quiet";
  shape: SceneShape;
  color: SceneColor;
  background: SceneColor;
  seconds: number;
  fps: number;
  width: number;
  height: number;
  /** A share of the shorter side. */
  radius: number;
  /** Where on the axis it does not move along, as a share of the room it has. */
  along: number;
  /** When it hits something or appears, in seconds. */
  events: number[];
  /**
   * Bounce and walls: how long before the first event the flight began; blink: until when it is shown at
   * first.
   */
  before: number;
  /**
   * Bounce: a flight of this many seconds would reach the ceiling; blink: how long it is shown after each
   * event.
   */
  longest: number;
}

/** Frame k at k / fps seconds; RGB, 8 bits, row by row. */
export function drawSoundingClip(clip: SoundingClip): Uint8Array[] {
  return Array.from(
    { length: Math.round(clip.seconds * clip.fps) },
    (_, k) => drawScene({ ...clip, ...placeAt(clip, k / clip.fps) }).data,
  );
}

function placeAt(
  { action, width, height, radius: share, along, events, before, longest }: SoundingClip,
  t: number,
) {
  const radius = share * Math.min(width, height);
  const [left, right, top, floor] = [radius, width - radius, radius, height - radius];
  const place = { x: left + along * (right - left), y: top + along * (floor - top), radius, isVisible: true };
  /** The flight that is under way: which event it ends with, how long it lasts, which share of it is over. */
  const flight = events
    .map((end, i) => ({ i, end, start: i === 0 ? end - before : (events[i - 1] ?? 0) }))
    .filter(({ start, end }) => t >= start && t < end)
    .map(({ i, start, end }) => ({ i, lasts: end - start, over: (t - start) / (end - start) }))[0];
  if (action === "bounce") {
    const rise = flight
      ? Math.min(1, (flight.lasts / longest) ** 2) * 4 * flight.over * (1 - flight.over)
      : 0;
    return { ...place, y: floor - (floor - top) * rise };
  }
  if (action === "walls") {
    const side = (i: number) => (i % 2 === 0 ? right : left);
    if (flight)
      return {
        ...place,
        x: (left + right - side(flight.i)) * (1 - flight.over) + side(flight.i) * flight.over,
      };
    return { ...place, x: events.length > 0 ? side(events.length - 1) : left };
  }
  if (action === "blink")
    return { ...place, isVisible: t < before || events.some((event) => t >= event && t < event + longest) };
  return place;
}
