/**
 * Names formats that are not read, by the first bytes of a file. A caller who sends one learns that, and does
 * not look for damage in a whole file.
 */
import { open } from "node:fs/promises";

/** The beginning of a file in each format, as Latin-1. */
const BEGINNINGS: readonly [beginning: string, name: string][] = [
  ["\0\0\x01\0", "ICO"],
  ["\0\0\x02\0", "CUR"],
  ["\xff\x0a", "JPEG XL"],
  ["\0\0\0\x0cJXL ", "JPEG XL"],
  ["\0\0\0\x0cjP  ", "JPEG 2000"],
  ["\xff\x4f\xff\x51", "JPEG 2000"],
  ["8BPS", "PSD"],
  ["%PDF", "PDF"],
  ["%!PS", "PostScript"],
  ["DDS ", "DDS"],
  ["qoif", "QOI"],
  ["\x76\x2f\x31\x01", "OpenEXR"],
  ["#?RADIANCE", "Radiance HDR"],
  ["\x1a\x45\xdf\xa3", "WebM or Matroska"],
];

/** Brands of HEIF files whose images are coded with HEVC, or with whatever their other brands say. */
const HEIC_BRANDS = ["heic", "heix", "heim", "heis", "hevc", "hevx", "hevm", "hevs", "mif1", "msf1"];

/** Returns the name of the format that a file begins like; `undefined` when it is none that is known here. */
export async function foreignFormat(path: string): Promise<string | undefined> {
  const head = await beginningOf(path);
  const found = BEGINNINGS.find(([beginning]) => head.startsWith(beginning));
  if (found) return found[1];
  // Two letters alone may begin a text: the four bytes after the size of a bitmap are reserved, and 0.
  if (head.startsWith("BM") && head.slice(6, 10) === "\0\0\0\0") return "BMP";
  if (/^P[1-7]\s/.test(head)) return "PNM";
  return head.slice(4, 8) === "ftyp" ? formatOfBrands(head) : undefined;
}

/** Reads the box with which MP4 and HEIF files begin: it lists the brands that the file keeps to. */
function formatOfBrands(head: string): string | undefined {
  const bytes = Buffer.from(head.slice(0, 4), "latin1").readUInt32BE();
  const brands: string[] = head.slice(8, Math.min(bytes, head.length)).match(/[\s\S]{4}/g) ?? [];
  if (brands.includes("avif") || brands.includes("avis")) return undefined;
  return brands.some((brand) => HEIC_BRANDS.includes(brand)) ? "HEIC" : "MP4 or MOV";
}

async function beginningOf(path: string): Promise<string> {
  const file = await open(path);
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(256), 0, 256, 0);
    return buffer.toString("latin1", 0, bytesRead);
  } finally {
    await file.close();
  }
}
