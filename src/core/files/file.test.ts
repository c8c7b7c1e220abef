import { describe, expect, it, vi } from "vitest";
import { codingOfKey, fileKey, safeFileName } from "./file.ts";

describe("the name of a file", () => {
  it.each([
    ["日本語.png", "file.png"],
    ["фото.jpg", "file.jpg"],
    ["🎨.PNG", "file.PNG"],
    ["图.tar.gz", "file.tar.gz"],
    ["日本語 v2.png", "v2.png"],
    ["C:\\写真\\夏.jpeg", "file.jpeg"],
    ["Señal 1.PNG", "Senal_1.PNG"],
    ["...png", "file.png"],
    ["_.webp", "file.webp"],
    ["夏.", "file.png"],
    ["日本語", "file.png"],
    ["日本語.写真", "file.png"],
    ["", "file.png"],
    [undefined, "file.png"],
    [".gitignore", "gitignore"],
    [".hidden.txt", "hidden.txt"],
    ["../../etc/passwd", "passwd"],
    ["con.png", "_con.png"],
    ["a.b", "a.b"],
    ["archive.tar.gz", "archive.tar.gz"],
    [`${"長".repeat(300)}.png`, "file.png"],
    [`${"x".repeat(300)}.png`, `${"x".repeat(96)}.png`],
  ])("%j is %j", (given, name) => expect(safeFileName(given, "image/png")).toBe(name));

  it("is made of a bounded part of what is given", () => {
    const normalize = vi.spyOn(String.prototype, "normalize");
    safeFileName(`a${".".repeat(10_000)}b.png`, "image/png");
    const [read] = normalize.mock.contexts;
    normalize.mockRestore();
    expect(String(read)).toHaveLength(1000);
    expect(safeFileName(`a${".".repeat(10_000)}b.png`, "image/png")).toBe("a.png");
    expect(safeFileName(`${".".repeat(10_000)}png`, "image/png")).toBe("file.png");
    expect(safeFileName(`${"/".repeat(10_000)}a.png`, "image/png")).toBe("a.png");
  });
});

it("an object's key says in which content coding its bytes are", () => {
  const id = "ab".repeat(16);
  expect(fileKey(id)).toMatch(/^files\/ab\/[0-9a-f]{32}-[0-9a-f]{8}$/);
  expect(codingOfKey(fileKey(id))).toBeUndefined();
  for (const coding of ["gzip", "deflate", "br"] as const)
    expect(codingOfKey(fileKey(id, coding))).toBe(coding);
  for (const key of ["artifacts/ab/cd.gzip", "artifacts/ab/cd.br", "files/ab/x.zstd"])
    expect(codingOfKey(key)).toBeUndefined();
});
