/**
 * Judges a drawn scene by its pixels alone: colour of the background, colour of the shape, and shape. The
 * palette and the shapes mirror training/tempera_training/scenes.py, the only other file that has them.
 */
export const SCENE_COLORS = {
  red: [220, 40, 40],
  green: [40, 165, 70],
  blue: [45, 85, 220],
  yellow: [245, 215, 50],
  purple: [140, 55, 180],
  orange: [245, 135, 30],
  pink: [250, 150, 190],
  cyan: [60, 205, 220],
  white: [245, 245, 245],
  black: [20, 20, 24],
} as const satisfies Record<string, Rgb>;

export type Rgb = readonly [number, number, number];
export type SceneColor = keyof typeof SCENE_COLORS;
export type SceneShape = keyof typeof SHAPES;

/**
 * Signed distance-like fields of shapes of radius 1, negative inside; u points right, v down
 * (`shape_distance` of scenes.py).
 */
export const SHAPES = {
  circle: (u, v) => Math.hypot(u, v) - 1,
  square: (u, v) => Math.max(Math.abs(u), Math.abs(v)) - 0.88,
  triangle: (u, v) => Math.max((1.85 * Math.abs(u) - 1.08 * (v + 1)) / Math.hypot(1.85, 1.08), v - 0.85),
  ring: (u, v) => Math.abs(Math.hypot(u, v) - 0.8) - 0.23,
  heart: (u, v) => {
    const [a, w] = [0.85, v - 0.09];
    const corner = (Math.abs(u) + Math.abs(w) - a) / Math.SQRT2;
    return Math.min(corner, Math.hypot(Math.abs(u) - a / 2, w + a / 2) - a / Math.SQRT2);
  },
  cross: (u, v) =>
    Math.min(Math.max(Math.abs(u) - 0.34, Math.abs(v) - 1), Math.max(Math.abs(v) - 0.34, Math.abs(u) - 1)),
} as const satisfies Record<string, (u: number, v: number) => number>;

export interface Judgement {
  background: SceneColor;
  /** Absent when the background is empty. */
  color?: SceneColor;
  /** Absent when the object resembles none of the shapes. */
  shape?: SceneShape;
  /** Intersection over union of the object and the nearest template, 0..1. */
  overlap: number;
}

export interface RgbImage {
  /** RGB, 8 bits, row by row. */
  data: Uint8Array;
  width: number;
  height: number;
}

/**
 * Pixels this far from the background (of 441) belong to an object: half the distance of the two nearest
 * colours.
 */
const OBJECT_DISTANCE_MIN = 40;
/** Side of the square masks that are compared, in cells. */
const MASK_SIDE = 48;
/**
 * The least overlap that counts as a shape. Drawn scenes overlap by 0.93 and more, small ones blurred by an
 * autoencoder by 0.68.
 */
const OVERLAP_MIN = 0.65;

/**
 * Judges an image: the median of its border is the background, the largest component that differs from it is
 * the object, and the object's eroded middle has its colour. The object's mask, stretched to a square, is
 * compared with each shape's by intersection over union.
 */
export function judgeScene(image: RgbImage): Judgement {
  const { width, height } = image;
  const ground = median(image, border(width, height, 3));
  const background = nearestColor(ground);
  const rough = largestComponent(
    select(image, (pixel) => distance(pixel, ground) > OBJECT_DISTANCE_MIN),
    width,
  );
  if (rough.length < 16) return { background, overlap: 0 };
  const ink = median(image, inner(rough, width));
  // The edge of a blurred object is half way between the two colours.
  const [dr, dg, db] = [ink[0] - ground[0], ink[1] - ground[1], ink[2] - ground[2]];
  const span = dr * dr + dg * dg + db * db;
  const half = ([r, g, b]: Rgb) =>
    (r - ground[0]) * dr + (g - ground[1]) * dg + (b - ground[2]) * db > span / 2;
  const exact = largestComponent(select(image, half), width);
  const mask = squareMask(exact.length > 0 ? exact : rough, width);
  const [shape, overlap] = bestShape(mask);
  return { background, color: nearestColor(ink), ...(overlap >= OVERLAP_MIN && { shape }), overlap };
}

const pixelAt = ({ data }: RgbImage, i: number): Rgb => [
  data[i * 3] ?? 0,
  data[i * 3 + 1] ?? 0,
  data[i * 3 + 2] ?? 0,
];

const distance = (a: Rgb, b: Rgb): number => Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]);

export function nearestColor(rgb: Rgb): SceneColor {
  const names = Object.keys(SCENE_COLORS) as SceneColor[];
  return names.reduce((best, name) =>
    distance(rgb, SCENE_COLORS[name]) < distance(rgb, SCENE_COLORS[best]) ? name : best,
  );
}

function median(image: RgbImage, pixels: number[]): Rgb {
  const middle = (channel: 0 | 1 | 2) =>
    pixels.map((i) => pixelAt(image, i)[channel]).sort((a, b) => a - b)[pixels.length >> 1] ?? 0;
  return [middle(0), middle(1), middle(2)];
}

function border(width: number, height: number, thickness: number): number[] {
  return Array.from({ length: width * height }, (_, i) => i).filter((i) => {
    const [x, y] = [i % width, Math.floor(i / width)];
    return x < thickness || y < thickness || x >= width - thickness || y >= height - thickness;
  });
}

const select = (image: RgbImage, keep: (pixel: Rgb) => boolean): Uint8Array =>
  Uint8Array.from({ length: image.width * image.height }, (_, i) => (keep(pixelAt(image, i)) ? 1 : 0));

/** Finds the indices of the largest set of marked pixels that touch by their sides. */
function largestComponent(marked: Uint8Array, width: number): number[] {
  const left = Uint8Array.from(marked);
  let largest: number[] = [];
  for (let start = 0; start < left.length; start++) {
    if (!left[start]) continue;
    const found = [start];
    left[start] = 0;
    for (let head = 0; head < found.length; head++) {
      for (const next of neighbours(found[head] ?? 0, width)) {
        if (!left[next]) continue;
        left[next] = 0;
        found.push(next);
      }
    }
    if (found.length > largest.length) largest = found;
  }
  return largest;
}

/** Gives the four neighbours of a pixel; indices outside the image hold nothing. */
const neighbours = (i: number, width: number): number[] => [
  ...(i % width > 0 ? [i - 1] : []),
  ...(i % width < width - 1 ? [i + 1] : []),
  i - width,
  i + width,
];

/** Erodes a component by two pixels; gives all of it when little would be left. */
function inner(component: number[], width: number): number[] {
  let eroded = component;
  for (let round = 0; round < 2; round++) {
    const inside = new Set(eroded);
    eroded = eroded.filter((i) => neighbours(i, width).every((next) => inside.has(next)));
  }
  return eroded.length > 8 ? eroded : component;
}

/** Stretches the bounding box of a component to MASK_SIDE × MASK_SIDE. */
function squareMask(component: number[], width: number): boolean[] {
  const inside = new Set(component);
  let [left, right, top, bottom] = [Number.POSITIVE_INFINITY, 0, Number.POSITIVE_INFINITY, 0];
  for (const i of component) {
    const [x, y] = [i % width, Math.floor(i / width)];
    [left, right, top, bottom] = [
      Math.min(left, x),
      Math.max(right, x + 1),
      Math.min(top, y),
      Math.max(bottom, y + 1),
    ];
  }
  return Array.from({ length: MASK_SIDE ** 2 }, (_, cell) => {
    const x = Math.floor(left + (((cell % MASK_SIDE) + 0.5) / MASK_SIDE) * (right - left));
    const y = Math.floor(top + ((Math.floor(cell / MASK_SIDE) + 0.5) / MASK_SIDE) * (bottom - top));
    return inside.has(y * width + x);
  });
}

function bestShape(mask: boolean[]): [SceneShape, number] {
  const scored = TEMPLATES.map(([name, template]): [SceneShape, number] => {
    let [both, either] = [0, 0];
    mask.forEach((own, i) => {
      const other = template[i] ?? false;
      if (own && other) both++;
      if (own || other) either++;
    });
    return [name, both / either];
  });
  return scored.reduce((best, next) => (next[1] > best[1] ? next : best));
}

const TEMPLATES: [SceneShape, boolean[]][] = (Object.keys(SHAPES) as SceneShape[]).map((name) => {
  const side = 240;
  const inside = Array.from({ length: side ** 2 }, (_, i) => i).filter((i) => {
    const [u, v] = [(((i % side) + 0.5) / side) * 3 - 1.5, ((Math.floor(i / side) + 0.5) / side) * 3 - 1.5];
    return SHAPES[name](u, v) < 0;
  });
  return [name, squareMask(inside, side)];
});
